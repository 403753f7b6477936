package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// checkTime bounds a program that checks a password.
	checkTime = 30 * time.Second
	// maxChecking is how many of them run at a time.
	maxChecking = 10
	// maxChecked is what the interface allows for name, password and time.
	maxChecked = 512
)

// A Checkpassword asks a program with the interface of checkpassword: it reads
// name, password and time from descriptor 3, each ended by NUL, and runs the
// program behind it when they are right, else ends with 1. We have it run env(1),
// which tells $HOME. Dovecot's and qmail's programs can be used, and
// checkpassword-pam.
//
// It knows no account without its password: who takes mail must stand in the users
// file, too, where a password of * leaves the login to the program.
type Checkpassword struct {
	passwordsOnly
	command []string
	limiter limiter
}

func newCheckpassword(command []string) (*Checkpassword, error) {
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil, fmt.Errorf("checkpassword: %w", err)
	}
	return &Checkpassword{command: command, limiter: newLimiter(maxChecking)}, nil
}

// pamProgram asks PAM with the interface of checkpassword. It is built apart, for
// Linux-PAM is a library of C.
const pamProgram = "postbag-pam"

// newPAM asks PAM, as the service of that name: by the program beside this one, or
// that of $PATH.
func newPAM(service string) (*Checkpassword, error) {
	if self, err := os.Executable(); err == nil {
		if c, err := newCheckpassword([]string{filepath.Join(filepath.Dir(self), pamProgram), service}); err == nil {
			return c, nil
		}
	}
	path, err := exec.LookPath(pamProgram)
	if err != nil {
		return nil, fmt.Errorf("pam: %w (make pam builds it)", err)
	}
	return newCheckpassword([]string{path, service})
}

// Lookup implements Directory; there is nobody to ask.
func (*Checkpassword) Lookup(_ context.Context, name string) (Account, error) {
	return Account{}, fmt.Errorf("look up account %s: %w", name, ErrNoAccount)
}

// Verify implements Directory.
func (c *Checkpassword) Verify(ctx context.Context, name, password string) (Account, error) {
	who, err := canonical(name)
	said := who + "\x00" + password + "\x00" + strconv.FormatInt(time.Now().Unix(), 10) + "\x00"
	if err != nil || len(said) > maxChecked || strings.Contains(password, "\x00") {
		return Account{}, ErrBadCredentials
	}
	if err := c.limiter.enter(ctx, who); err != nil {
		return Account{}, err
	}
	defer c.limiter.leave()
	env, err := c.run(ctx, said)
	if err != nil {
		return Account{}, err
	}
	return Account{Name: who, UID: -1, GID: -1, Home: env["HOME"]}, nil
}

// run gives what the program has set in the environment.
func (c *Checkpassword) run(ctx context.Context, said string) (map[string]string, error) {
	ctx, stop := context.WithTimeout(ctx, checkTime)
	defer stop()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", c.command[0], err)
	}
	defer r.Close()
	// The pipe has room for all of it, so that this does not wait for a reader.
	_, err = w.WriteString(said)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("run %s: %w", c.command[0], err)
	}
	cmd := exec.CommandContext(ctx, c.command[0], append(c.command[1:len(c.command):len(c.command)], "/usr/bin/env", "-0")...)
	cmd.ExtraFiles, cmd.Env, cmd.WaitDelay = []*os.File{r}, []string{"PATH=" + os.Getenv("PATH")}, time.Second
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil, ErrBadCredentials
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", c.command[0], err)
	}
	env := map[string]string{}
	for one := range bytes.SplitSeq(out, []byte{0}) {
		name, value, _ := strings.Cut(string(one), "=")
		env[name] = value
	}
	return env, nil
}
