// Imapd serves the mailboxes of this host over IMAP: see imapd(8).
package main

import (
	"context"
	"errors"
	"os"
	"sync/atomic"

	"postbag/cmd/internal/wire"
	"postbag/internal/account"
	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/imapsrv"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
	"postbag/internal/netserve"
	"postbag/internal/status"
)

var protocols = []string{"imap", "imaps"}

func main() {
	os.Exit(config.Main(program(), os.Args))
}

func program() config.Program {
	return config.Program{
		Name:  "imapd",
		Usage: "serve mailboxes over IMAP",
		Args:  "[check MAILDIR]",
		More:  verbs,
		Settings: wire.Settings(protocols, wire.Preauth,
			config.Setting{Name: "max-size", Arg: "SIZE", Usage: "largest message in APPEND", Kind: config.Size, Default: "50M"},
			config.Setting{Name: "repair", FlagOnly: true, Kind: config.Switch, Usage: "with check: mend what can be mended"}),
		Run:   run,
		Check: wire.Check,
	}
}

func run(ctx context.Context, v *config.Values) error {
	if len(v.Operands) > 0 && v.Operands[0] == "check" {
		return check(ctx, v)
	}
	if v.Bool("repair") {
		return status.Exit(status.ExUsage, "--repair", errors.New("goes with check only"))
	}
	if err := wire.NoOperands(v); err != nil {
		return err
	}
	d, err := wire.Open(ctx, v, protocols)
	if err != nil {
		return err
	}
	preauth, err := d.Preauth(ctx)
	if err != nil {
		return err
	}
	store := mailbox.NewStore(d.FS, mailbox.Options{Hostname: v.String("hostname"), Log: d.Log.Logger()})
	defer store.Close()
	var srv atomic.Pointer[imapsrv.Server]
	take := func() { srv.Store(newServer(ctx, d, store, preauth)) }
	take()
	return d.Serve(ctx, netserve.Options{
		Handle: func(ctx context.Context, c *netserve.Conn) error { return srv.Load().Serve(ctx, c) },
		Busy:   func(string) string { return "* BYE [UNAVAILABLE] too many connections, try again later\r\n" },
		Reload: func() error { take(); return nil },
	})
}

// newServer holds what all sessions share.
func newServer(ctx context.Context, d *wire.Daemon, store *mailbox.Store, preauth *auth.Account) *imapsrv.Server {
	v := d.Values
	return &imapsrv.Server{
		Accounts: d.Accounts, Throttle: d.Throttle, Plaintext: v.String("plaintext-auth"), StartTLS: true,
		Preauth: preauth, MaxSize: v.Size("max-size"), IdleTimeout: v.Duration("idle-timeout"), Version: config.Version, Commands: d.Commands,
		Open: func(ctx context.Context, a auth.Account) (*account.Tree, error) {
			dir, err := d.MakeMaildir(a)
			if err != nil {
				return nil, err
			}
			return account.Open(ctx, store, dir, account.Options{})
		},
		Report: func(e imapsrv.Event) { report(ctx, d.Log, e) },
	}
}

// report writes down what happens in sessions.
func report(ctx context.Context, log *maillog.Log, e imapsrv.Event) {
	peer := ""
	if e.Peer.IsValid() {
		peer = e.Peer.String()
	}
	switch e.Kind {
	case imapsrv.Login:
		log.Login(ctx, "imap", peer, e.Login, e.Method, e.TLS)
	case imapsrv.LoginFailed:
		log.LoginFailed(ctx, "imap", peer, e.Login, e.Method, e.Err)
	case imapsrv.Logout:
		log.Logout(ctx, "imap", peer, e.Login, 0, 0, 0, e.Clean)
	case imapsrv.Failed:
		log.SessionFailed(ctx, "imap", peer, e.Login, e.Err)
	}
}
