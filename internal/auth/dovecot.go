package auth

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// dovecotTime bounds one question. Dovecot itself waits 2 seconds before it
	// says that a password is wrong, longer for addresses that were wrong before.
	dovecotTime = 30 * time.Second
	// dovecotLine bounds a line of an answer.
	dovecotLine = 8 << 10
)

// A Dovecot asks Dovecot's auth service for passwords, at its client socket (as
// Postfix and Exim do), and who accounts are at the socket auth-userdb in the same
// directory, where there is one: then smtpd knows who takes mail, too. The protocol
// is that of Dovecot's documentation, version 1; each question has a connection of
// its own, so that a Dovecot that was started anew is found.
type Dovecot struct {
	passwordsOnly
	client, userdb string // paths; userdb "": there is none
	limiter        limiter
}

func newDovecot(path string) (*Dovecot, error) {
	d := &Dovecot{client: path, limiter: newLimiter(maxChecking)}
	if userdb := filepath.Join(filepath.Dir(path), "auth-userdb"); isSocket(userdb) {
		d.userdb = userdb
	}
	return d, nil
}

var errDovecot = errors.New("answer is none of Dovecot's auth protocol")

// Verify implements Directory.
func (d *Dovecot) Verify(ctx context.Context, name, password string) (Account, error) {
	who, err := canonical(name)
	if err != nil || strings.Contains(password, "\x00") || len(password) > maxPassword {
		return Account{}, ErrBadCredentials
	}
	if err := d.limiter.enter(ctx, who); err != nil {
		return Account{}, err
	}
	defer d.limiter.leave()
	said, err := d.authenticate(ctx, who, password)
	if err != nil {
		return Account{}, err
	}
	if who, err = canonical(value(said, "user")); err != nil {
		return Account{}, err
	}
	if a, err := d.Lookup(ctx, who); !errors.Is(err, ErrNoAccount) {
		return a, err
	}
	return Account{Name: who, UID: -1, GID: -1}, nil
}

// authenticate gives the fields of OK.
func (d *Dovecot) authenticate(ctx context.Context, who, password string) ([]string, error) {
	resp := base64.StdEncoding.EncodeToString([]byte("\x00" + who + "\x00" + password))
	say := "VERSION\t1\t1\nCPID\t" + strconv.Itoa(os.Getpid()) + "\nAUTH\t1\tPLAIN\tservice=postbag\tsecured\tresp=" + resp + "\n"
	answer, err := ask(ctx, d.client, say, "OK", "FAIL", "CONT")
	switch {
	case err != nil:
		return nil, err
	case answer[0] == "OK":
		return answer, nil
	case answer[0] == "FAIL" && !slices.Contains(answer, "temp"):
		return nil, ErrBadCredentials
	}
	return nil, fmt.Errorf("ask %s: %s: it cannot say", d.client, answer[0])
}

// Lookup implements Directory.
func (d *Dovecot) Lookup(ctx context.Context, name string) (Account, error) {
	who, err := canonical(name)
	if err != nil || d.userdb == "" {
		return Account{}, fmt.Errorf("look up account %s: %w", name, ErrNoAccount)
	}
	answer, err := ask(ctx, d.userdb, "VERSION\t1\t0\nUSER\t1\t"+who+"\tservice=postbag\n", "USER", "NOTFOUND", "FAIL")
	switch {
	case err != nil:
		return Account{}, err
	case answer[0] == "NOTFOUND":
		return Account{}, fmt.Errorf("look up account %s: %w", name, ErrNoAccount)
	case answer[0] == "FAIL" || len(answer) < 3:
		return Account{}, fmt.Errorf("ask %s: %s: it cannot say", d.userdb, answer[0])
	}
	a, err := accountOf(answer)
	if err != nil {
		return Account{}, fmt.Errorf("ask %s: user %q: %w: %w", d.userdb, answer[2], errDovecot, err)
	}
	return a, nil
}

// accountOf takes an account from the fields of USER. Dovecot has made numbers of
// the names of users and groups.
func accountOf(answer []string) (Account, error) {
	a := Account{Home: value(answer, "home")}
	var err, uerr, gerr error
	a.Name, err = canonical(answer[2])
	a.UID, uerr = parseID(value(answer, "uid"))
	a.GID, gerr = parseID(value(answer, "gid"))
	if mail, ok := strings.CutPrefix(value(answer, "mail"), "maildir:"); ok {
		a.Maildir, _, _ = strings.Cut(mail, ":")
	}
	return a, errors.Join(err, uerr, gerr)
}

// ask says something at a socket of Dovecot and gives the fields of the first line
// that begins with one of the words.
func ask(ctx context.Context, path, say string, words ...string) ([]string, error) {
	ctx, stop := context.WithTimeout(ctx, dovecotTime)
	defer stop()
	var dial net.Dialer
	c, err := dial.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("ask dovecot: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })() // ends what waits for it
	if _, err := c.Write([]byte(say)); err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	fields, err := readAnswer(c, words)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, errors.Join(err, ctx.Err()))
	}
	return fields, nil
}

// readAnswer reads to the line that answers the one question of a connection.
func readAnswer(r io.Reader, words []string) ([]string, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, dovecotLine)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		switch {
		case len(fields) >= 2 && fields[1] == "1" && slices.Contains(words, fields[0]):
			return fields, nil
		case fields[0] == "VERSION" && (len(fields) < 2 || fields[1] != "1"):
			return nil, fmt.Errorf("version %q: %w", lines.Text(), errDovecot)
		}
	}
	return nil, errors.Join(errDovecot, lines.Err())
}

// value finds name=value among fields; "" when there is none.
func value(fields []string, name string) string {
	for _, f := range fields {
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			return unescape.Replace(v)
		}
	}
	return ""
}

// unescape undoes how Dovecot keeps its separators out of values.
var unescape = strings.NewReplacer("\x01\x30", "\x00", "\x01\x31", "\x01", "\x01\x74", "\t", "\x01\x72", "\r", "\x01\x6e", "\n")
