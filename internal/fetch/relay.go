package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"strconv"
	"strings"

	"postbag/internal/address"
	"postbag/internal/mime"
	"postbag/internal/smtpout"
	"postbag/internal/status"
)

// A relayTarget is the host that letters are given to by SMTP or LMTP, and for
// whom.
type relayTarget struct {
	hop smtpout.Hop
	to  address.Address // zero: the user of the source
}

var relayPort = map[TargetKind]int{ToSMTP: 25, ToLMTP: 24}

// parseRelay reads smtp://[RECIPIENT@]HOST[:PORT], the same of lmtp, and
// lmtp://[RECIPIENT@]/PATH.
func parseRelay(kind TargetKind, s string) (relayTarget, error) {
	u, err := url.Parse(s)
	if err != nil {
		return relayTarget{}, errors.New("not a URL")
	}
	t := relayTarget{hop: smtpout.Hop{Host: u.Hostname(), Port: relayPort[kind], LMTP: kind == ToLMTP}}
	if p := u.Port(); p != "" {
		if t.hop.Port, err = strconv.Atoi(p); err != nil || t.hop.Port < 1 || t.hop.Port > 65535 {
			return t, fmt.Errorf("%q is no port", p)
		}
	}
	if _, secret := u.User.Password(); secret || u.RawQuery != "" || u.Fragment != "" {
		return t, errors.New("there is more than a recipient, a host and a port")
	}
	switch {
	case t.hop.Host == "" && t.hop.LMTP && len(u.Path) > 1:
		t.hop.Socket, t.hop.Host = u.Path, "localhost"
	case t.hop.Host == "":
		return t, errors.New("no host")
	case u.Path != "" && u.Path != "/":
		return t, errors.New("nothing may follow the port")
	}
	if name := u.User.Username(); name != "" {
		t.to, err = address.ParseUnqualified(name)
	}
	return t, err
}

// recipient is for whom a letter is: whom the target names, else the user of the
// source, with the origin where there is no domain.
func (r *run) recipient(named address.Address) (address.Address, error) {
	to, err := named, error(nil)
	if to.IsNull() {
		to, err = address.ParseUnqualified(r.Source.User)
	}
	if err != nil {
		return to, status.Exit(status.ExUsage, "target", fmt.Errorf("%q is no recipient; name one, as smtp://ann@HOST", r.Source.User))
	}
	if to.Unqualified() {
		to.Domain = r.Origin
	}
	return to, nil
}

// openRelay makes the sink for SMTP and LMTP.
func (r *run) openRelay() (sink, error) {
	t, err := parseRelay(r.Target.Kind, r.Target.Arg)
	if err == nil {
		t.to, err = r.recipient(t.to)
	}
	if err != nil {
		return nil, err
	}
	client := &smtpout.Client{Hostname: r.Hostname, Dial: r.Dial}
	give := func(ctx context.Context, _ letter, text *staged) error { return relay(ctx, client, t, text) }
	return &streamSink{run: r, give: give, close: client.Close}, nil
}

// relay gives a letter to a host. What the host refuses stays on the server; a
// host that cannot be reached ends the run.
func relay(ctx context.Context, client *smtpout.Client, t relayTarget, text *staged) error {
	from, err := returnPath(text)
	if err != nil {
		return err
	}
	mail := smtpout.Mail{From: from, Rcpts: []smtpout.Rcpt{{Address: t.to}}}
	// SIGTERM lets a letter finish, as with a command.
	results, err := client.Deliver(context.WithoutCancel(ctx), t.hop, mail, func() (io.ReadCloser, error) {
		_, err := text.Seek(0, io.SeekStart)
		return io.NopCloser(text), err
	})
	if err != nil {
		return status.Exit(status.ExTempFail, "deliver to "+t.hop.String(), err)
	}
	if err := results[0].Err; err != nil {
		return &refusalError{err}
	}
	return nil
}

// returnPath is the envelope sender of a letter: its Return-Path, else the null
// one, so that nobody is told twice of what cannot be delivered.
func returnPath(text *staged) (address.Address, error) {
	head, err := mime.ParseHeader(text)
	if err != nil {
		return address.Address{}, localError("read letter", err)
	}
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return address.Address{}, localError("read letter", err)
	}
	value := strings.TrimSpace(head.Header.Get("Return-Path"))
	from, err := address.Parse(strings.TrimSuffix(strings.TrimPrefix(value, "<"), ">"))
	if err != nil {
		return address.Address{}, nil
	}
	return from, nil
}

// sendmail gives a letter to the sendmail program, for one local user.
func (r *run) sendmail(ctx context.Context, _ letter, text *staged) error {
	from, err := returnPath(text)
	if err != nil {
		return err
	}
	args := append(r.Sendmail[1:len(r.Sendmail):len(r.Sendmail)], "-i", "-f", "<"+from.String()+">", "--", r.Target.Arg)
	return r.command(ctx, text, func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, r.Sendmail[0], args...) })
}
