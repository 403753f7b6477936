package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// programs are the tables that a file may have.
var programs = []string{"smtpd", "popd", "imapd", "sendmail", "mailq", "fetch"}

// A file is a configuration file that was read.
type file struct {
	path string
	top  map[string]any
	text []string // its lines, to find keys in
}

// readFile reads a TOML file.
func readFile(path string) (*file, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, top: map[string]any{}, text: strings.Split(string(b), "\n")}
	if _, err := toml.Decode(string(b), &f.top); err != nil {
		var p toml.ParseError
		if errors.As(err, &p) {
			return nil, fmt.Errorf("%s:%d: %s", path, p.Position.Line, p.Message)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// table gives the table of a program, or nil.
func (f *file) table(program string) map[string]any {
	t, _ := f.top[program].(map[string]any)
	return t
}

// line finds where a key stands in a table ("" is the top), or where the table
// begins when key is "".
func (f *file) line(table, key string) int {
	want := dotted(table, key)
	at := ""
	for i, l := range f.text {
		l = strings.TrimSpace(l)
		if header, ok := strings.CutPrefix(l, "["); ok {
			header, _, _ = strings.Cut(header, "]")
			if at = unquoted(header); at == want {
				return i + 1
			}
			continue
		}
		if name, _, ok := strings.Cut(l, "="); ok && dotted(at, unquoted(name)) == want {
			return i + 1
		}
	}
	return 1
}

// unquoted is a key of TOML without blanks and quotes.
func unquoted(key string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t[\"'", r) {
			return -1
		}
		return r
	}, key)
}

func dotted(table, key string) string {
	if table == "" || key == "" {
		return table + key
	}
	return table + "." + key
}

func (f *file) where(table, key string) string {
	return f.path + ":" + strconv.Itoa(f.line(table, key))
}

// fault is `FILE:LINE: key: why`.
func (f *file) fault(table, key, why string) error {
	return fmt.Errorf("%s: %s: %s", f.where(table, key), key, why)
}

// lookup finds the texts of a setting for a program; where is "" when there are
// none.
func (f *file) lookup(program string, s Setting) (texts []string, where string, err error) {
	if f == nil || s.FlagOnly {
		return nil, "", nil
	}
	for _, table := range []string{program, ""} {
		from := f.top
		if table != "" {
			from = f.table(program)
		} else if s.OwnOnly {
			break
		}
		raw, ok := from[s.Name]
		if !ok {
			continue
		}
		if texts, err = textsOf(raw, s); err == nil {
			err = checkAll(s, texts)
		}
		if err != nil {
			return nil, "", f.fault(table, s.Name, err.Error())
		}
		return texts, f.where(table, s.Name), nil
	}
	return nil, "", nil
}

func checkAll(s Setting, texts []string) error {
	for _, t := range texts {
		if err := s.check(t); err != nil {
			return err
		}
	}
	return nil
}

// textsOf turns a value of TOML into texts.
func textsOf(raw any, s Setting) ([]string, error) {
	list, isList := raw.([]any)
	if isList && s.Kind != List {
		return nil, errors.New("is one value, not a list")
	}
	if !isList {
		list = []any{raw}
	}
	texts := []string{}
	for _, one := range list {
		t, err := textOf(one, s.Kind)
		if err != nil {
			return nil, err
		}
		texts = append(texts, t)
	}
	return texts, nil
}

func textOf(raw any, kind Kind) (string, error) {
	switch v := raw.(type) {
	case string:
		if kind == Switch {
			return "", errors.New("is true or false, without quotes")
		}
		return v, nil
	case bool:
		if kind == Switch {
			return strconv.FormatBool(v), nil
		}
	case int64:
		if kind == Number || kind == Size {
			return strconv.FormatInt(v, 10), nil
		}
	}
	return "", fmt.Errorf("has a value of the wrong type, %v", raw)
}

// unknown finds keys that no program has. Those of other programs are no error;
// known has the names of all settings of all programs.
func (f *file) unknown(program string, own func(string) bool, known func(string) bool) error {
	for _, key := range sortedKeys(f.top) {
		_, isTable := f.top[key].(map[string]any)
		switch {
		case isTable && slices.Contains(programs, key):
		case isTable:
			return fmt.Errorf("%s:%d: [%s]: no such program", f.path, f.line(key, ""), key)
		case !known(key):
			return f.fault("", key, "no such key")
		}
	}
	for _, key := range sortedKeys(f.table(program)) {
		if !own(key) {
			return f.fault(program, key, "no such key")
		}
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
