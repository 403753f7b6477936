package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"

	"postbag/cmd/internal/wire"
	"postbag/internal/config"
	"postbag/internal/durable"
	"postbag/internal/fetch"
	"postbag/internal/status"
)

// sources reads the operands.
func sources(v *config.Values) ([]fetch.Source, error) {
	if len(v.Operands) == 0 {
		return nil, status.Exit(status.ExUsage, "usage", errors.New("fetch [options] URL...; see --help"))
	}
	var all []fetch.Source
	for _, s := range v.Operands {
		src, err := fetch.ParseURL(s)
		if err != nil {
			return nil, err
		}
		all = append(all, src)
	}
	return all, nil
}

// job is what is the same for all sources.
func job(v *config.Values) (*fetch.Fetch, error) {
	switch {
	case v.String("to") == "":
		return nil, status.Exit(status.ExUsage, "usage", errors.New("--to says where letters go; see --help"))
	case v.Bool("keep") && v.Bool("delete"):
		return nil, status.Exit(status.ExUsage, "usage", errors.New("--keep and --delete exclude each other"))
	}
	target, err := fetch.ParseTarget(v.String("to"))
	if err != nil {
		return nil, err
	}
	if v.Bool("json") && target.Kind == fetch.ToStdout {
		return nil, status.Exit(status.ExUsage, "usage", errors.New("--json and --to - both want standard output"))
	}
	config, err := tlsConfig(v)
	if err != nil {
		return nil, err
	}
	f := &fetch.Fetch{Target: target, FS: durable.New(), Hostname: v.String("hostname"), Folders: v.Strings("folders"),
		Delete: v.Bool("delete"), TLS: fetch.TLSMode(v.String("tls")), TLSConfig: config, Mechanism: v.String("mechanism"),
		Stdout: v.Stdout, Stderr: v.Stderr, Environ: fetch.CleanEnviron(os.Environ())}
	f.State, err = state(f.FS, v)
	return f, err
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
