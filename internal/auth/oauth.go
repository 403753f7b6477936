package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// maxToken bounds a token; RFC 7628 has no bound, and some are of 10 KiB.
	maxToken = 24 << 10
	// maxTold bounds what a program says of a token.
	maxTold = 4 << 10
)

// An OAuth asks a program about bearer tokens. The program reads the token, and
// nothing else, from standard input. AUTH_USER in its environment is whom the client
// wants to be, and empty when it does not say that. It ends with
//
//	0    the token is good; the line that it has printed is whose it is
//	1    it is not; what it has printed, if that is the JSON of RFC 7628 section
//	     3.2.2, is told to the client
//
// and with anything else when it cannot say. An empty token is a client that asks
// for that JSON. Nobody is let in as somebody else than the one whom the program
// names.
//
// It knows no account without a token: who takes mail must stand in another source,
// as for Checkpassword. Passwords are nothing to it.
type OAuth struct {
	command []string
	limiter limiter
	time    time.Duration
}

func newOAuth(command []string) (*OAuth, error) {
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	return &OAuth{command: command, limiter: newLimiter(maxChecking), time: checkTime}, nil
}

// Lookup implements Directory; there is nobody to ask.
func (*OAuth) Lookup(_ context.Context, name string) (Account, error) {
	return Account{}, fmt.Errorf("look up account %s: %w", name, ErrNoAccount)
}

// Verify implements Directory; there are no passwords.
func (*OAuth) Verify(context.Context, string, string) (Account, error) {
	return Account{}, ErrBadCredentials
}

// SCRAM implements Directory; nobody offers it.
func (*OAuth) SCRAM(context.Context, string) (Credentials, Account, error) {
	return Credentials{}, Account{}, ErrBadCredentials
}

// SCRAMPossible implements Directory.
func (*OAuth) SCRAMPossible() bool { return false }

// List implements Directory.
func (*OAuth) List(context.Context) ([]Account, error) { return nil, nil }

// TokensPossible implements Directory.
func (*OAuth) TokensPossible() bool { return true }

// Token implements Directory.
func (o *OAuth) Token(ctx context.Context, name, token string) (Account, error) {
	return Several{o}.Token(ctx, name, token)
}

// whose asks the program for the name of the one whose token it is.
func (o *OAuth) whose(ctx context.Context, asked, token string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, o.time)
	defer stop()
	if err := o.limiter.enter(ctx, asked); err != nil {
		return "", err
	}
	defer o.limiter.leave()
	said, err := o.run(ctx, asked, token)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("run %s: %w", o.command[0], ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return "", refusal(said)
	case err != nil:
		return "", fmt.Errorf("run %s: %w", o.command[0], err)
	case token == "": // it was no more than a question
		return "", &TokenError{Status: invalidToken}
	}
	name := strings.TrimRight(string(said), "\r\n")
	if name == "" || strings.ContainsAny(name, "\r\n") {
		return "", fmt.Errorf("run %s: it does not say in one line whose the token is", o.command[0])
	}
	return canonical(name)
}

// run gives what the program says. The end of ctx ends it and all that it has
// started.
func (o *OAuth) run(ctx context.Context, asked, token string) ([]byte, error) {
	var said told
	cmd := exec.CommandContext(ctx, o.command[0], o.command[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "AUTH_USER=" + asked}
	cmd.Stdin, cmd.Stdout, cmd.WaitDelay = strings.NewReader(token), &said, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	if said.over {
		err = errors.New("it says too much")
	}
	return said.text, err
}

// A told is what a program says, as far as it is wanted.
type told struct {
	text []byte
	over bool
}

func (t *told) Write(p []byte) (int, error) {
	n := min(len(p), maxTold-len(t.text))
	t.text, t.over = append(t.text, p[:n]...), t.over || n < len(p)
	return len(p), nil
}

// refusal is why a token is not good, in the words of the program if it has any
// that can be passed on.
func refusal(said []byte) error {
	e := &TokenError{}
	if err := json.Unmarshal(bytes.TrimSpace(said), e); err != nil || len(e.json()) > maxExplained {
		e = &TokenError{}
	}
	if strings.Trim(e.Status, "abcdefghijklmnopqrstuvwxyz_") != "" || e.Status == "" {
		e.Status = invalidToken
	}
	return e
}

// maxExplained bounds what a client is told of a token that is not good.
const maxExplained = 2 << 10

// noTokens is what is common to sources that know nothing of tokens.
type noTokens struct{}

// Token implements Directory; nobody offers it.
func (noTokens) Token(context.Context, string, string) (Account, error) {
	return Account{}, ErrBadCredentials
}

// TokensPossible implements Directory.
func (noTokens) TokensPossible() bool { return false }

// TokensPossible implements Directory: one is enough.
func (s Several) TokensPossible() bool {
	for _, d := range s {
		if d.TokensPossible() {
			return true
		}
	}
	return false
}

// Token implements Directory. The programs are asked in turn until one knows whose
// the token is.
func (s Several) Token(ctx context.Context, name, token string) (Account, error) {
	asked, err := canonical(name)
	if name != "" && err != nil {
		return Account{}, ErrBadCredentials
	}
	var trouble error
	refused := error(ErrBadCredentials)
	for _, d := range s {
		o, ok := d.(*OAuth)
		if !ok {
			continue
		}
		who, err := o.whose(ctx, asked, token)
		switch {
		case err == nil:
			return s.as(ctx, asked, who)
		case errors.Is(err, ErrBadCredentials):
			refused = err
		default:
			trouble = errors.Join(trouble, err)
		}
	}
	if trouble != nil {
		return Account{}, trouble
	}
	return Account{}, refused
}

// as is the account of the one whose token it is, if it is the one who was asked
// for: the same name, or another for the same account.
func (s Several) as(ctx context.Context, asked, who string) (Account, error) {
	account, err := s.known(ctx, Account{Name: who, UID: -1, GID: -1})
	if err != nil || asked == "" || asked == who {
		return account, err
	}
	wanted, err := s.Lookup(ctx, asked)
	switch {
	case err == nil && key(wanted.Name) == key(account.Name):
		return account, nil
	case err != nil && !errors.Is(err, ErrNoAccount):
		return Account{}, err
	}
	return Account{}, ErrBadCredentials
}
