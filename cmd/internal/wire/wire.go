// Package wire puts together, from checked settings, what the daemons share:
// log, spool, accounts, certificates and the way to serve.
package wire

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/durable"
	"postbag/internal/maillog"
	"postbag/internal/metrics"
	"postbag/internal/netserve"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// Settings are those of a daemon that speaks some protocols, with its own.
func Settings(protocols []string, own ...config.Setting) []config.Setting {
	all := config.Join(config.Common, config.Recipients, config.Daemon, own)
	for i := range all {
		switch all[i].Name {
		case "listen":
			all[i].Valid = netserve.ValidListen(protocols)
		case "maildir":
			all[i].Valid = auth.ValidTemplate
		case "auth":
			all[i].Valid = auth.ValidSource
		}
	}
	return all
}

// Preauth is the setting of daemons whose session may begin logged in.
var Preauth = config.Setting{Name: "preauth", Arg: "USER", OwnOnly: true,
	Usage: "with --inetd: the session is that user's from the start, as in ssh host imapd --inetd --preauth $USER"}

// Quota is the setting of daemons that add letters to accounts.
var Quota = config.Setting{Name: "quota", Arg: "SIZE", Kind: config.Size, Default: "0",
	Usage: "what the letters of an account may take; 0: as maildirsize in its Maildir says"}

// A Daemon is what is common to smtpd, popd and imapd. Whoever Opens it Closes it
// at the end of the program.
type Daemon struct {
	Values    *config.Values
	Protocols []string
	FS        *durable.FS
	Log       *maillog.Log
	Spool     *spool.Spool
	Accounts  *Accounts
	Maildirs  auth.Template
	TLS       *netserve.Certificates
	Throttle  *auth.Throttle
	Key       []byte       // secret of the spool
	Metrics   *metrics.Set // nil without --metrics
	Commands  *metrics.Counters
}

// Close writes the last lines of the log.
func (d *Daemon) Close() { d.Log.Flush() }

// Open makes a Daemon; its errors have the exit code of a start.
func Open(ctx context.Context, v *config.Values, protocols []string) (*Daemon, error) {
	d := &Daemon{Values: v, Protocols: protocols, FS: durable.New(), Throttle: auth.NewThrottle()}
	var err error
	if d.Log, err = openLog(v); err != nil {
		return nil, status.Exit(status.ExUsage, "log", err)
	}
	if err := d.openMetrics(); err != nil {
		return nil, err
	}
	if d.Spool, err = OpenSpool(d.FS, v); err != nil {
		return nil, err
	}
	if d.Key, err = authKey(d.FS, d.Spool); err != nil {
		return nil, status.Exit(status.ExConfig, "spool", err)
	}
	if d.Accounts, err = OpenAccounts(v, d.Key); err != nil {
		return nil, err
	}
	if d.TLS, err = openTLS(d.FS, v, d.Spool); err != nil {
		return nil, err
	}
	if err := d.trustClients(); err != nil {
		return nil, err
	}
	d.TLS.Report = func(err error) { d.Log.Reloaded(ctx, "certificate", err) }
	d.Maildirs = auth.Template{Text: v.String("maildir"), Spool: d.Spool.Dir()}
	return d, nil
}

// warn says what works, but may not be meant.
func (d *Daemon) warn(ctx context.Context) {
	for _, err := range d.Accounts.unable() {
		d.Log.Warning(ctx, "no password can be checked: "+err.Error())
	}
	all, err := d.Accounts.List(ctx)
	switch {
	case err == nil && len(all) == 0 && len(d.Accounts.more) == 0:
		d.Log.Warning(ctx, "no accounts in "+d.Values.String("users")+": nobody can log in")
	case !d.Accounts.SCRAMPossible():
		tokens := func(spec string) bool { return strings.HasPrefix(spec, "oauth:") }
		from := append([]string{d.Values.String("users")}, slices.DeleteFunc(d.Values.Strings("auth"), tokens)...)
		d.Log.Warning(ctx, "SCRAM-SHA-256 is not offered: not every password of "+strings.Join(from, ", ")+" can do it")
	}
}

// OpenSpool opens the spool that was found; there has to be one.
func OpenSpool(fs *durable.FS, v *config.Values) (*spool.Spool, error) {
	if v.String("spool") == "" {
		return nil, status.Exit(status.ExConfig, "spool", errors.New("none can be used here; say --spool DIR"))
	}
	s, err := spool.Open(fs, v.String("spool"), spool.Options{Hostname: v.String("hostname")})
	if err != nil {
		return nil, status.Exit(status.ExConfig, "spool", err)
	}
	return s, nil
}

func openTLS(fs *durable.FS, v *config.Values, s *spool.Spool) (*netserve.Certificates, error) {
	cert, key := v.String("tls-cert"), v.String("tls-key")
	var c *netserve.Certificates
	var err error
	switch {
	case (cert == "") != (key == ""):
		err = errors.New("--tls-cert and --tls-key belong together")
	case cert != "":
		c, err = netserve.LoadCertificates(cert, key)
	default:
		c, err = netserve.SelfSigned(fs, s.Path("state"), v.String("hostname"))
	}
	if err != nil {
		return nil, status.Exit(status.ExConfig, "tls", err)
	}
	return c, nil
}

// trustClients asks clients for the certificates of EXTERNAL.
func (d *Daemon) trustClients() error {
	clients, err := Roots(d.Values, "client-ca")
	if err != nil {
		return status.Exit(status.ExConfig, "client-ca", err)
	}
	if clients != nil {
		d.TLS.TrustClients(clients)
	}
	return nil
}

// Roots are the certificates of the file that a setting names; nil when it names none.
func Roots(v *config.Values, setting string) (*x509.CertPool, error) {
	path := v.String(setting)
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in PEM", path)
	}
	return pool, nil
}

// Preauth is the account of --preauth; nil when there is none. The user who runs
// the program needs no line in the users file.
func (d *Daemon) Preauth(ctx context.Context) (*auth.Account, error) {
	name := d.Values.String("preauth")
	if name == "" {
		return nil, nil
	}
	if !d.Values.Bool("inetd") {
		return nil, status.Exit(status.ExUsage, "--preauth", errors.New("goes with --inetd only"))
	}
	a, err := d.Accounts.Lookup(ctx, name)
	if own, uerr := user.Current(); errors.Is(err, auth.ErrNoAccount) && uerr == nil && own.Username == name {
		a, err = auth.Account{Name: name, UID: -1, GID: -1, Home: own.HomeDir}, nil
		if !d.Values.IsSet("maildir") {
			a.Maildir = filepath.Join(strings.ReplaceAll(own.HomeDir, "%", "%%"), "Maildir")
		}
	}
	if err != nil {
		return nil, status.Exit(status.ExNoUser, "--preauth", err)
	}
	return &a, nil
}

// Serve runs sessions until a signal ends the program. On SIGHUP the settings
// are found anew; then o.Reload, which may be nil, takes them from d.Values.
func (d *Daemon) Serve(ctx context.Context, o netserve.Options) error {
	v := d.Values
	signals := make(chan os.Signal, 4)
	signal.Ignore(syscall.SIGPIPE) // a client that goes away ends its session, not the program
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	o.Protocols, o.Listen, o.Signals = d.Protocols, v.Strings("listen"), signals
	if len(o.Listen) == 0 {
		o.Listen = netserve.DefaultListen(d.Protocols, v.PrivateSpool())
	}
	o.Inetd, o.Stdin, o.Stdout = v.Bool("inetd"), os.Stdin, os.Stdout
	o.TLS, o.ProxyFrom, o.Log = d.TLS, v.Nets("proxy-protocol-from"), d.Log
	o.MaxConns, o.MaxPerAddress, o.StopTimeout = v.Int("max-connections"), v.Int("max-per-address"), v.Duration("stop-timeout")
	o.Counts = d.counts()
	told, err := d.listenMetrics()
	if err != nil {
		return err
	}
	more := o.Reload
	o.Reload = func() error { return d.reload(ctx, more) }
	ready := o.Ready
	o.Ready = func() { // not before: a start that fails says one thing
		d.warn(ctx)
		if told != nil {
			d.serveMetrics(ctx, told)
		}
		if ready != nil {
			ready()
		}
	}
	return netserve.Run(ctx, o)
}

// NoOperands refuses what is no flag.
func NoOperands(v *config.Values) error {
	if len(v.Operands) == 0 {
		return nil
	}
	return status.Exit(status.ExUsage, "usage", fmt.Errorf("unexpected argument %q; see --help", v.Operands[0]))
}
