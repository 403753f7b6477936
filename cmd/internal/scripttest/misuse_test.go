package scripttest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	programs = []string{"smtpd", "popd", "imapd", "sendmail", "mailq", "fetch"}
	daemons3 = []string{"smtpd", "popd", "imapd"}
	knowing  = []string{"smtpd", "popd", "imapd", "sendmail"} // those that know recipients
)

// A misuse is what somebody gets wrong.
type misuse struct {
	name string
	of   []string // programs
	args string   // PROTO is the program's protocol, PORT one that is in use
	env  string
	code int
	says string // the line has it
}

// misuses: sendmail is asked where an address leads to, for it would take a letter
// in spite of its configuration.
var misuses = []misuse{
	{name: "a flag that there is not", of: programs, args: "--no-such-flag", code: 64, says: "--no-such-flag"},
	{name: "a flag without its value", of: programs, args: "--spool", code: 64, says: "--spool: needs a value"},
	{name: "an operand too many", of: daemons3, args: "operand", code: 64, says: `"operand"`},
	{name: "no operands", of: []string{"fetch", "sendmail"}, code: 64},
	{name: "a verb that there is not", of: []string{"mailq"}, args: "frobnicate", code: 64, says: "frobnicate"},
	{name: "a value that is none of the choices", of: programs, args: "--log-level loud", code: 64, says: `--log-level: "loud"`},
	{name: "a name that is none", of: programs, args: "--hostname a..b", code: 64, says: "--hostname: "},
	{name: "a time without a unit", of: daemons3, args: "--stop-timeout 5", code: 64, says: "--stop-timeout: "},
	{name: "a number that is none", of: daemons3, args: "--max-connections many", code: 64, says: "--max-connections: "},
	{name: "a network that is none", of: daemons3, args: "--proxy-protocol-from here", code: 64, says: "--proxy-protocol-from: "},
	{name: "a protocol of another program", of: daemons3, args: "--listen gopher://127.0.0.1:0", code: 64, says: "--listen: "},
	{name: "a port that is none", of: daemons3, args: "--listen PROTO://127.0.0.1:99999", code: 64, says: "--listen: "},
	{name: "--preauth without --inetd", of: []string{"popd", "imapd"}, args: "--preauth ann", code: 64, says: "--preauth: "},
	{name: "a configuration that is not there", of: programs, args: "--config nowhere.toml", code: 66, says: "nowhere.toml: no such file"},
	{name: "a users file that is not there", of: knowing, args: "--users nowhere", code: 66, says: "--users: nowhere: no such file"},
	{name: "an aliases file that is not there", of: knowing, args: "--aliases nowhere", code: 66, says: "--aliases: nowhere: no such file"},
	{name: "a certificate that is not there", of: daemons3, args: "--tls-cert nowhere --tls-key nowhere", code: 66, says: "--tls-cert: nowhere: no such file"},
	{name: "another users file that is not there", of: knowing, args: "--auth file:/nowhere/at/all", code: 66, says: "/nowhere/at/all: no such file"},
	{name: "a source of accounts that there is not", of: knowing, args: "--auth ldap:dovecot", code: 64, says: "--auth: "},
	{name: "a port of metrics in use", of: daemons3, args: "--metrics 127.0.0.1:PORT", code: 69, says: "address already in use"},
	{name: "metrics at no address", of: daemons3, args: "--metrics here", code: 64, says: "--metrics: "},
	{name: "a log that goes nowhere", of: daemons3, args: "--log-to printer", code: 64, says: "--log-to: "},
	{name: "a spool that is not there", of: []string{"mailq"}, args: "--spool nowhere", code: 66, says: "--spool: nowhere: no spool"},
	{name: "a port in use", of: daemons3, args: "--listen PROTO://127.0.0.1:PORT", code: 69, says: "address already in use"},
	{name: "a socket path that cannot be", of: []string{"smtpd"}, args: "--listen lmtp:///nowhere/at/all", code: 69, says: "lmtp:///nowhere/at/all"},
	{name: "a key that there is not", of: programs, args: "--config badkey.toml", code: 78, says: "badkey.toml:2: orgin: no such key"},
	{name: "a key with a wrong value", of: programs, args: "--config badvalue.toml", code: 78, says: `badvalue.toml:1: log-level: "loud" is none of`},
	{name: "a key with a wrong type", of: programs, args: "--config badtype.toml", code: 78, says: "badtype.toml:1: spool: "},
	{name: "no TOML", of: programs, args: "--config notoml.toml", code: 78, says: "notoml.toml:1: "},
	{name: "a directory as configuration", of: programs, args: "--config .", code: 78, says: "."},
	{name: "a file that the configuration names", of: knowing, args: "--config missing.toml", code: 78, says: "missing.toml:1: users: /nowhere: no such file"},
	{name: "a variable with a wrong value", of: programs, env: "POSTBAG_LOG_FORMAT=xml", code: 78, says: `POSTBAG_LOG_FORMAT: "xml"`},
	{name: "a configuration that a variable names", of: programs, env: "POSTBAG_CONFIG=nowhere.toml", code: 78, says: "nowhere.toml"},
	{name: "a users file with a wrong line", of: knowing, args: "--users brokenusers", code: 78, says: "brokenusers:1"},
	{name: "a certificate that is none", of: daemons3, args: "--tls-cert badkey.toml --tls-key badkey.toml", code: 78, says: "tls"},
	{name: "half a pair of TLS", of: daemons3, args: "--tls-cert badkey.toml", code: 78, says: "belong together"},
	{name: "a file as spool", of: []string{"smtpd", "popd", "imapd"}, args: "--spool badkey.toml", code: 78, says: "badkey.toml"},
	{name: "a file as spool, for a letter", of: []string{"sendmail"}, args: "--spool badkey.toml ann", code: 75, says: "badkey.toml"},
	{name: "routes with a wrong line", of: []string{"smtpd", "sendmail"}, args: "--routes brokenusers", code: 78, says: "brokenusers:1"},
	{name: "routes that are not there", of: []string{"smtpd", "sendmail"}, args: "--routes nowhere", code: 66, says: "--routes: nowhere: no such file"},
}

var files = map[string]string{
	"badkey.toml": "\norgin = 1\n", "badvalue.toml": "log-level = \"loud\"\n", "badtype.toml": "spool = 7\n", "notoml.toml": "[[[\n",
	"missing.toml": "users = \"/nowhere\"\n", "brokenusers": "ann:{NO-SUCH-SCHEME}x\n",
}

// TestMisuse: each mistake is one line on standard error with the right exit
// code, and nothing on standard output, whichever of the programs it is.
func TestMisuse(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	for _, p := range programs {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, p), "postbag/cmd/"+p).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", p, err, out)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	for _, m := range misuses {
		for _, p := range m.of {
			t.Run(p+": "+m.name, func(t *testing.T) {
				m.try(t, dir, filepath.Join(bin, p), port)
			})
		}
	}
	for _, p := range programs {
		for _, flag := range []string{"--help", "--version"} {
			out, errs, code := run(t, dir, nil, filepath.Join(bin, p), flag)
			if code != 0 || errs != "" || !strings.Contains(out, p) {
				t.Errorf("%s %s: exit %d, %q, %q", p, flag, code, out, errs)
			}
		}
	}
}

func (m misuse) try(t *testing.T, dir, path, port string) {
	p := filepath.Base(path)
	args := strings.Fields(strings.NewReplacer("PROTO", map[string]string{"smtpd": "smtp", "popd": "pop3", "imapd": "imap"}[p], "PORT", port).Replace(m.args))
	if slices.Contains(daemons3, p) && !strings.Contains(m.args, "--listen") {
		args = append([]string{"--listen", map[string]string{"smtpd": "smtp", "popd": "pop3", "imapd": "imap"}[p] + "://127.0.0.1:0"}, args...)
	}
	if p == "sendmail" && m.name != "no operands" && !strings.HasSuffix(m.args, "ann") && !strings.HasSuffix(m.args, "--spool") {
		args = append(args, "-bv", "ann")
	}
	if !strings.Contains(m.args, "--spool") {
		args = append([]string{"--spool", "spool"}, args...)
	}
	var env []string
	if m.env != "" {
		env = append(env, m.env)
	}
	out, errs, code := run(t, dir, env, path, args...)
	if code != m.code || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, p+": ") || !strings.Contains(errs, m.says) {
		t.Errorf("%s %q: exit %d, %q on standard output, %q; want %d and %q", p, args, code, out, errs, m.code, m.says)
	}
}

// run runs a program that ends by itself.
func run(t *testing.T, dir string, env []string, path string, args ...string) (out, errs string, code int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = dir, append([]string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}, env...)
	cmd.Stdin = strings.NewReader("Subject: x\n\ntext\n")
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), code
}
