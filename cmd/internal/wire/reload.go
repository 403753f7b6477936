package wire

import (
	"context"
	"errors"
	"slices"
	"strings"

	"postbag/internal/config"
)

// fixed are settings that a running daemon keeps: they say what it has open.
var fixed = []string{
	"listen", "inetd", "metrics", "auth", "preauth", "spool", "hostname", "maildir", "log-level", "log-format", "log-to", "proxy-protocol-from",
	"max-connections", "max-per-address", "stop-timeout", "resolver", "smtp-port", "tls-ca", "client-ca", "password-file", "concurrency", "destination-delay", "destination-rate",
	"queue-lifetime", "retry-min", "retry-max", "delay-warning", "no-queue-runner", "tls-reports",
}

// reload takes the settings as the configuration has them now, and the files
// that they name. What is broken stays as it was, and is the error.
func (d *Daemon) reload(ctx context.Context, more func() error) error {
	v, err := d.Values.Reload()
	if err != nil {
		return errors.Join(err, d.Accounts.Check())
	}
	d.tellFixed(ctx, v)
	before := d.Values
	d.Values = v
	err = errors.Join(d.Accounts.Move(v), d.moveTLS(v))
	if more != nil {
		if merr := more(); merr != nil {
			d.Values = before
			err = errors.Join(err, merr)
		}
	}
	return err
}

// tellFixed names what has changed and is taken at the next start only.
func (d *Daemon) tellFixed(ctx context.Context, v *config.Values) {
	changed := slices.DeleteFunc(v.Changed(d.Values), func(name string) bool { return !slices.Contains(fixed, name) })
	if len(changed) > 0 {
		d.Log.Warning(ctx, "taken at the next start only: "+strings.Join(changed, ", "))
	}
}

// moveTLS follows --tls-cert and --tls-key; a pair of our own stays.
func (d *Daemon) moveTLS(v *config.Values) error {
	cert, key := v.String("tls-cert"), v.String("tls-key")
	if cert == "" && key == "" {
		return nil
	}
	return d.TLS.Move(cert, key)
}
