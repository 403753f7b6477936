package auth

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// A Template says where the mail of accounts is: a path with variables as
// Dovecot has them, %u the name, %n its local part, %d its domain, %h the home,
// and %s the spool.
type Template struct {
	Text  string
	Spool string
}

// ValidTemplate checks the text of a Template.
func ValidTemplate(s string) error {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i++; i == len(s) || !strings.ContainsRune("undhs%", rune(s[i])) {
			return fmt.Errorf("%q has a %% that is none of %%u %%n %%d %%h %%s", s)
		}
	}
	if s == "" {
		return errors.New("is empty")
	}
	return nil
}

// Dir is the Maildir of an account, an absolute path. What the users file says
// of the account comes first. A name that would lead out of its place, and a
// variable of which the account has nothing, are errors.
func (t Template) Dir(a Account) (string, error) {
	text := t.Text
	if a.Maildir != "" {
		text = a.Maildir
	}
	if rest, ok := strings.CutPrefix(text, "~/"); ok {
		text = "%h/" + rest
	}
	path, err := t.expand(text, a)
	if err == nil && !filepath.IsAbs(path) {
		err = fmt.Errorf("%q is no absolute path", path)
	}
	if err != nil {
		return "", fmt.Errorf("maildir of %s: %w", a.Name, err)
	}
	return filepath.Clean(path), nil
}

func (t Template) expand(text string, a Account) (string, error) {
	if err := ValidTemplate(text); err != nil {
		return "", err
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		i++
		value, err := t.variable(text[i], a)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

func (t Template) variable(c byte, a Account) (string, error) {
	local, domain := a.Name, ""
	if at := strings.LastIndexByte(a.Name, '@'); at >= 0 {
		local, domain = a.Name[:at], a.Name[at+1:]
	}
	value, name := "", false // whether it is a name that others may have chosen
	switch c {
	case 'u':
		value, name = a.Name, true
	case 'n':
		value, name = local, true
	case 'd':
		value, name = domain, true
	case 'h':
		value = a.Home
	case 's':
		value = t.Spool
	case '%':
		value = "%"
	}
	if value == "" && c != 'd' {
		return "", fmt.Errorf("%%%c is empty", c)
	}
	if name && (strings.HasPrefix(value, ".") || strings.ContainsAny(value, "/\x00")) {
		return "", fmt.Errorf("%q cannot be the name of a directory", value)
	}
	return value, nil
}
