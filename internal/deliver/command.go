package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postbag/internal/durable"
	"postbag/internal/recipient"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// Limits of a command.
const (
	commandTime   = 10 * time.Minute
	commandOutput = 1 << 10 // of what it prints, for the report
)

// commandPath is where a command finds others.
const commandPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A Commander gives letters to commands of sh(1). They run in an environment of
// their own, never as root: what would is done by the user nobody.
//
// A command that exits with 0 has the letter. A mistake that may pass is 71, 74,
// 75, 126, 127 and above, a signal, or more than ten minutes; every other exit
// code is a refusal, with what was printed as the reason. Output that begins with
// an enhanced status code of class 4 or 5 decides instead.
type Commander struct {
	Time time.Duration // 0: ten minutes
}

// run makes one attempt for one recipient.
func (c Commander) run(ctx context.Context, d recipient.Destination, m Mail, to spool.Recipient) Outcome {
	op := "run command for " + to.Address.String()
	if err := m.readable(); err != nil {
		return Outcome{Err: status.Temp(op, "4.3.0", "", err)}
	}
	cmd, err := c.command(d, m, to)
	if err != nil {
		return Outcome{Err: status.Temp(op, "4.3.5", "command cannot be run now", err)}
	}
	limit := or(c.Time, commandTime)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	output, err := feed(ctx, cmd, d, m, to)
	if ctx.Err() != nil {
		return Outcome{Err: status.Temp(op, "4.3.0", fmt.Sprintf("command did not end within %s", limit), ctx.Err())}
	}
	return verdict(op, output, err)
}

func or(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// readable reads the whole letter: a damaged one must not be given to a command,
// which cannot be told later that it has not had all of it.
func (m Mail) readable() error {
	r, err := m.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// command prepares a command with the ids and the environment of its account.
func (c Commander) command(d recipient.Destination, m Mail, to spool.Recipient) (*exec.Cmd, error) {
	cmd := exec.Command("/bin/sh", "-c", d.Route.Text)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	home := d.Home
	if os.Geteuid() == 0 {
		who, err := durable.OwnerFor(d.UID, d.GID)
		if err != nil {
			return nil, err
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(who.UID), Gid: uint32(who.GID)}
	} else if d.UID >= 0 && d.UID != os.Geteuid() {
		return nil, fmt.Errorf("it belongs to uid %d, this process has %d", d.UID, os.Geteuid())
	}
	cmd.Dir = "/"
	if st, err := os.Stat(home); err == nil && st.IsDir() {
		cmd.Dir = home
	}
	base, detail := d.Address.Split("+")
	cmd.Env = []string{
		"PATH=" + commandPath, "SHELL=/bin/sh", "HOME=" + cmd.Dir, "LANG=C.UTF-8",
		"SENDER=" + m.From.String(), "RECIPIENT=" + to.Address.String(), "ORIGINAL_RECIPIENT=" + strings.TrimPrefix(to.Orig, "rfc822;"),
		"USER=" + base.Local, "LOGNAME=" + base.Local, "LOCAL=" + d.Address.Local, "EXTENSION=" + detail, "DOMAIN=" + d.Address.Domain,
		"QUEUE_ID=" + m.ID,
	}
	return cmd, nil
}

// feed runs a command with the letter on its standard input. The end of ctx ends
// it and all that it has started.
func feed(ctx context.Context, cmd *exec.Cmd, d recipient.Destination, m Mail, to spool.Recipient) ([]byte, error) {
	body, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var out limited
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Stdin = io.MultiReader(bytes.NewReader(commandFields(d, m, to)), body)
	cmd.WaitDelay = time.Second // for what it left running with our pipes
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err = cmd.Wait()
	stop()
	if errors.Is(err, exec.ErrWaitDelay) || errors.Is(err, syscall.EPIPE) {
		err = nil // it ended well without reading all, or left a child behind
	}
	return out.b, err
}

// commandFields are what the last host adds (RFC 5321 section 4.4). Commands of
// aliases have the line before them that procmail and others want.
func commandFields(d recipient.Destination, m Mail, to spool.Recipient) []byte {
	fields := finalFields(m.From, to.Address)
	if !d.FromLine {
		return fields
	}
	return append([]byte(fromLine(m.From)), fields...)
}

// limited keeps the first octets of what is written to it.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), commandOutput-len(l.b))]...)
	return len(p), nil
}

// passing are exit codes of sysexits(3) and sh(1) for trouble that may pass.
var passing = map[int]bool{status.ExOSErr: true, status.ExIOErr: true, status.ExTempFail: true}

// verdict is what a command's end means.
func verdict(op string, output []byte, err error) Outcome {
	text := printable(output)
	var exit *exec.ExitError
	if err == nil {
		return Outcome{Reply: "delivered to command"}
	}
	if !errors.As(err, &exit) {
		return Outcome{Err: status.Temp(op, "4.3.0", "command failed", err)}
	}
	code := exit.ExitCode()
	class, enhanced := status.Permanent, "5.3.0"
	if code == status.ExNoUser {
		enhanced = "5.1.1"
	}
	if code < 0 || passing[code] || code >= 126 {
		class, enhanced = status.Temporary, "4.3.0"
	}
	if said, rest, ok := cutEnhanced(text); ok {
		class, enhanced, text = status.Temporary, said, rest
		if said[0] == '5' {
			class = status.Permanent
		}
	}
	if text == "" {
		text = "command failed"
	}
	return Outcome{Err: &status.Error{Op: op, Class: class, Code: enhanced, Text: text, Err: err}}
}

// printable is the output of a command in one line.
func printable(b []byte) string {
	text := strings.ToValidUTF8(string(b), "?")
	text = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			return ' '
		case c < ' ' || c >= 0x7f && c < 0xa0:
			return '?'
		}
		return c
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// cutEnhanced takes an enhanced status code of failure (RFC 3463) off a text.
func cutEnhanced(text string) (code, rest string, ok bool) {
	word, rest, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != "4" && parts[0] != "5" {
		return "", text, false
	}
	for _, p := range parts[1:] {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 999 {
			return "", text, false
		}
	}
	return word, rest, true
}
