// Popd serves the mailboxes of this host over POP3: see popd(8).
package main

import (
	"context"
	"os"
	"sync/atomic"

	"postbag/cmd/internal/wire"
	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
	"postbag/internal/netserve"
	"postbag/internal/popsrv"
)

var protocols = []string{"pop3", "pop3s"}

func main() {
	os.Exit(config.Main(program(), os.Args))
}

func program() config.Program {
	return config.Program{
		Name:     "popd",
		Usage:    "serve mailboxes over POP3",
		Settings: wire.Settings(protocols, wire.Preauth),
		Run:      run,
		Check:    wire.Check,
	}
}

func run(ctx context.Context, v *config.Values) error {
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
	var srv atomic.Pointer[popsrv.Server]
	take := func() { srv.Store(newServer(ctx, d, store, preauth)) }
	take()
	return d.Serve(ctx, netserve.Options{
		Handle: func(ctx context.Context, c *netserve.Conn) error { return srv.Load().Serve(ctx, c) },
		Busy:   func(string) string { return "-ERR [SYS/TEMP] too many connections, try again later\r\n" },
		Reload: func() error { take(); return nil },
	})
}

// newServer holds what all sessions share.
func newServer(ctx context.Context, d *wire.Daemon, store *mailbox.Store, preauth *auth.Account) *popsrv.Server {
	v := d.Values
	return &popsrv.Server{
		Hostname: v.String("hostname"), Accounts: d.Accounts, Throttle: d.Throttle,
		Plaintext: v.String("plaintext-auth"), StartTLS: true, Preauth: preauth, IdleTimeout: v.Duration("idle-timeout"),
		Open: func(ctx context.Context, a auth.Account) (*mailbox.Folder, error) {
			dir, err := d.MakeMaildir(a)
			if err != nil {
				return nil, err
			}
			return store.Open(ctx, dir)
		},
		Commands: d.Commands,
		Report:   func(e popsrv.Event) { report(ctx, d.Log, e) },
	}
}

// report writes down what happens in sessions.
func report(ctx context.Context, log *maillog.Log, e popsrv.Event) {
	peer := ""
	if e.Peer.IsValid() {
		peer = e.Peer.String()
	}
	switch e.Kind {
	case popsrv.Login:
		log.Login(ctx, "pop3", peer, e.Login, e.Method, e.TLS)
	case popsrv.LoginFailed:
		log.LoginFailed(ctx, "pop3", peer, e.Login, e.Method, e.Err)
	case popsrv.Logout:
		log.Logout(ctx, "pop3", peer, e.Login, e.Retrieved, e.Octets, e.Deleted, e.Clean)
	case popsrv.Failed:
		log.SessionFailed(ctx, "pop3", peer, e.Login, e.Err)
	}
}
