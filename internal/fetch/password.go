package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"postbag/internal/status"
)

// Passwords says where an account's password comes from; the first that is
// there is taken.
type Passwords struct {
	Command string   // its output's first line; run by /bin/sh -c
	Given   string   // from $POSTBAG_FETCH_PASSWORD
	Netrc   string   // path
	Environ []string // of the command
	Stderr  io.Writer
	Warn    func(text string)
}

// commandTime is how long a password command may take: it may ask a person.
const commandTime = 5 * time.Minute

// For gives a function that finds the password of an account when it is needed.
// Its errors never hold a password.
func (p Passwords) For(src Source) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		switch {
		case p.Command != "":
			return p.run(ctx)
		case p.Given != "":
			return p.Given, nil
		}
		password, err := p.netrc(src)
		if err != nil || password != "" {
			return password, err
		}
		return "", status.Exit(status.ExNoPerm, "login to "+src.String(),
			errors.New("no password: none of --password-command, $POSTBAG_FETCH_PASSWORD and netrc has one"))
	}
}

func (p Passwords) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", p.Command)
	var out bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Environ, os.Stdin, &out, p.Stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", status.Exit(status.ExNoPerm, "password command", err)
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", status.Exit(status.ExNoPerm, "password command", errors.New("it printed nothing"))
	}
	return line, nil
}

// netrc looks the password up; "" means that there is none.
func (p Passwords) netrc(src Source) (string, error) {
	if p.Netrc == "" {
		return "", nil
	}
	data, err := os.ReadFile(p.Netrc)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", status.Exit(status.ExNoPerm, "netrc", err)
	}
	if info, err := os.Stat(p.Netrc); err == nil && info.Mode().Perm()&0o077 != 0 && p.Warn != nil {
		p.Warn(fmt.Sprintf("%s can be read by others (mode %04o); chmod 600 %[1]s", p.Netrc, info.Mode().Perm()))
	}
	return lookupNetrc(string(data), src.Host, src.User), nil
}

// lookupNetrc finds the password of a login at a machine. An entry without a
// login holds for every one; default comes last.
func lookupNetrc(data, host, user string) string {
	tokens := netrcTokens(data)
	machine, login, password := "", "", ""
	found := ""
	take := func() {
		if found == "" && password != "" && (login == "" || login == user) && (machine == "*" || strings.EqualFold(machine, host)) {
			found = password
		}
		login, password = "", ""
	}
	for i := 0; i < len(tokens); i++ {
		value := ""
		if i+1 < len(tokens) {
			value = tokens[i+1]
		}
		switch tokens[i] {
		case "machine":
			take()
			machine = value
			i++
		case "default":
			take()
			machine = "*"
		case "login":
			login = value
			i++
		case "password":
			password = value
			i++
		case "account":
			i++
		}
	}
	take()
	return found
}

// netrcTokens splits the file into words, of which some may stand in double
// quotes. Comments and macros are left out.
func netrcTokens(data string) []string {
	var tokens []string
	macro := false
	for line := range strings.Lines(data) {
		text := strings.TrimSpace(line)
		switch {
		case macro:
			macro = text != ""
			continue
		case strings.HasPrefix(text, "macdef"):
			macro = true
			continue
		case strings.HasPrefix(text, "#"):
			continue
		}
		for text != "" {
			var token string
			token, text = netrcToken(text)
			tokens = append(tokens, token)
		}
	}
	return tokens
}

func netrcToken(s string) (token, rest string) {
	if s[0] != '"' {
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], strings.TrimSpace(s[end:])
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), strings.TrimSpace(s[i+1:])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
