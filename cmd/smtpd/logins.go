package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"postbag/internal/config"
)

// logins are the passwords for other hosts: from a command, or from a file that is
// read when one is needed.
type logins struct {
	file, command string
}

// commandTime bounds --password-command: nobody is there to be asked.
const commandTime = time.Minute

// password finds the one of a user at a host.
func (l logins) password(ctx context.Context, host, user string) (string, error) {
	if l.command != "" {
		return l.ask(ctx, host, user)
	}
	if l.file == "" {
		return "", errors.New("neither --password-file nor --password-command is set")
	}
	all, err := readPasswords(l.file)
	if err != nil {
		return "", err
	}
	password, ok := all[strings.ToLower(host)+" "+user]
	if !ok {
		return "", fmt.Errorf("%s has none for %s at %s", l.file, user, host)
	}
	return password, nil
}

// ask runs the command with host and user as $1 and $2. It does not get our
// settings.
func (l logins) ask(ctx context.Context, host, user string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", l.command, "sh", host, user)
	cmd.WaitDelay = time.Second
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "POSTBAG_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("password command: %w", err)
	}
	password, _, _ := strings.Cut(string(out), "\n")
	if password = strings.TrimSuffix(password, "\r"); password == "" {
		return "", errors.New("password command: printed nothing")
	}
	return password, nil
}

// passwords checks the password file that is set.
func passwords(v *config.Values) (logins, error) {
	l := logins{file: v.String("password-file"), command: v.String("password-command")}
	if l.file == "" {
		return l, nil
	}
	_, err := readPasswords(l.file)
	return l, err
}

// readPasswords reads machine, login and password of netrc(5), by host and user.
func readPasswords(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	words := strings.Fields(string(text))
	var machine, login string
	for i := 0; i+1 < len(words); i += 2 {
		switch words[i] {
		case "machine":
			machine, login = strings.ToLower(words[i+1]), ""
		case "login":
			login = words[i+1]
		case "password":
			all[machine+" "+login] = words[i+1]
		default:
			return nil, fmt.Errorf("%s: %q is none of machine, login, password", path, words[i])
		}
	}
	return all, nil
}
