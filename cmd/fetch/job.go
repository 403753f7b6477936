package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postbag/cmd/internal/sibling"
	"postbag/cmd/internal/wire"
	"postbag/internal/config"
	"postbag/internal/durable"
	"postbag/internal/fetch"
	"postbag/internal/status"
)

// tasks makes one of each operand: a URL, or an account of fetch.toml.
func tasks(v *config.Values, out *reporter, secret string) ([]*fetch.Fetch, error) {
	if len(v.Operands) == 0 {
		return nil, status.Exit(status.ExUsage, "usage", errors.New("fetch [options] URL...; see --help"))
	}
	var all []*fetch.Fetch
	for _, operand := range v.Operands {
		t, err := task(v, operand, out, secret)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// task is one URL or account.
func task(v *config.Values, operand string, out *reporter, secret string) (*fetch.Fetch, error) {
	url := operand
	if !strings.Contains(operand, ":") {
		own, err := v.With(accountsFile(), operand, config.Join([]config.Setting{urlKey}, settings), "url")
		if err != nil {
			return nil, err
		}
		v, url = own, own.String("url")
	}
	src, err := fetch.ParseURL(url)
	if err != nil {
		return nil, err
	}
	f, err := job(v)
	if err != nil {
		return nil, err
	}
	f.Source, f.Report = src, out.event
	f.Password = fetch.Passwords{Command: v.String("password-command"), Given: secret, Netrc: netrc(), Environ: f.Environ, Stderr: v.Stderr, Warn: out.warn}.For(src)
	return f, nil
}

// check is for --check: all accounts, and the certificates.
func check(_ context.Context, v *config.Values) []error {
	var faults []error
	if _, err := tlsConfig(v); err != nil {
		faults = append(faults, err)
	}
	names, err := config.Tables(accountsFile())
	if err != nil {
		faults = append(faults, err)
	}
	for _, name := range names {
		own, err := v.With(accountsFile(), name, config.Join([]config.Setting{urlKey}, settings), "url")
		if err == nil {
			_, err = tlsConfig(own)
		}
		if err == nil {
			_, _, err = deletion(own)
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// urlKey is what an account has that is no flag.
var urlKey = config.Setting{Name: "url", FlagOnly: true, Valid: func(s string) error { _, err := fetch.ParseURL(s); return err }}

// accountsFile is where named accounts are.
func accountsFile() string {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, _ := os.UserHomeDir()
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "postbag", "fetch.toml")
}

// job is what the settings say, all but the account.
func job(v *config.Values) (*fetch.Fetch, error) {
	remove, after, err := deletion(v)
	switch {
	case err != nil:
		return nil, err
	case v.String("to") == "":
		return nil, status.Exit(status.ExUsage, "usage", errors.New("--to says where letters go; see --help"))
	}
	target, err := fetch.ParseTarget(v.String("to"))
	if err != nil {
		return nil, err
	}
	if v.Bool("json") && target.Kind == fetch.ToStdout {
		return nil, status.Exit(status.ExUsage, "usage", errors.New("--json and --to - both want standard output"))
	}
	secure, err := tlsConfig(v)
	if err != nil {
		return nil, err
	}
	f := &fetch.Fetch{Target: target, FS: durable.New(), Hostname: v.String("hostname"), Origin: v.String("origin"), Folders: v.Strings("folders"),
		Delete: remove, DeleteAfter: after, TLS: fetch.TLSMode(v.String("tls")), TLSConfig: secure, Mechanism: v.String("mechanism"),
		Stdout: v.Stdout, Stderr: v.Stderr, Environ: fetch.CleanEnviron(os.Environ())}
	if target.Kind == fetch.ToSendmail {
		if f.Sendmail, err = sendmail(v); err != nil {
			return nil, err
		}
	}
	f.State, err = state(f.FS, v)
	return f, err
}

// deletion says whether letters are deleted on the server, and when. What the
// command line says beats all else.
func deletion(v *config.Values) (now bool, after time.Duration, err error) {
	chosen, flags := []string{}, []string{}
	for _, name := range []string{"keep", "delete", "delete-after"} {
		if on := v.Bool(name) || name == "delete-after" && v.Duration(name) > 0; on {
			chosen = append(chosen, name)
			if v.FromFlag(name) {
				flags = append(flags, name)
			}
		}
	}
	if len(flags) > 0 {
		chosen = flags
	}
	switch {
	case len(chosen) > 1:
		return false, 0, status.Exit(status.ExUsage, "usage", fmt.Errorf("--%s and --%s exclude each other", chosen[0], chosen[1]))
	case len(chosen) == 1 && chosen[0] == "delete":
		return true, 0, nil
	case len(chosen) == 1 && chosen[0] == "delete-after":
		return false, v.Duration("delete-after"), nil
	}
	return false, 0, nil
}

// sendmail is the command line of the program: ours, which is told where the spool
// is, or else another mailer's.
func sendmail(v *config.Values) ([]string, error) {
	if path, err := sibling.Find("sendmail"); err == nil {
		command := []string{path, "--spool=" + v.String("spool"), "--hostname=" + v.String("hostname"), "--origin=" + v.String("origin")}
		if v.File != "" {
			command = append(command, "--config="+v.File)
		}
		return command, nil
	}
	for _, path := range []string{"/usr/sbin/sendmail", "/usr/lib/sendmail"} {
		if _, err := os.Stat(path); err == nil {
			return []string{path}, nil
		}
	}
	return nil, status.Exit(status.ExUnavailable, "sendmail", errors.New("program is not installed"))
}

// state is where the journals are.
func state(fs *durable.FS, v *config.Values) (string, error) {
	if dir := v.String("state"); dir != "" {
		return filepath.Abs(dir)
	}
	s, err := wire.OpenSpool(fs, v)
	if err != nil {
		return "", err
	}
	return s.Path("state", "fetch"), nil
}

func tlsConfig(v *config.Values) (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: v.Bool("tls-insecure"), MinVersion: tls.VersionTLS12}
	path := v.String("tls-ca")
	if path == "" {
		return c, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, status.Exit(status.ExConfig, "tls-ca", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, status.Exit(status.ExConfig, "tls-ca "+path, errors.New("holds no certificate"))
	}
	return c, nil
}

// netrc is the path of the user's, as curl has it.
func netrc() string {
	home, _ := os.UserHomeDir()
	if home == "" {
		return os.Getenv("NETRC")
	}
	return cmp.Or(os.Getenv("NETRC"), filepath.Join(home, ".netrc"))
}
