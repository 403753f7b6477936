// Popd serves the mailboxes of this host over POP3: see popd(8).
package main

import (
	"context"
	"os"

	"postbag/cmd/internal/wire"
	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
	"postbag/internal/netserve"
	"postbag/internal/popsrv"
	"postbag/internal/quota"
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
	wire.Scheduling()
	d, err := wire.Open(ctx, v, protocols)
	if err != nil {
		return err
	}
	defer d.Close()
	noLimit := quota.Limit{} // nothing is added here
	return d.ServeMailboxes(ctx, "-ERR [SYS/TEMP] too many connections, try again later\r\n", noLimit, func(store *mailbox.Store, preauth *auth.Account) wire.Handler {
		server := newServer(ctx, d, store, preauth)
		return func(ctx context.Context, c *netserve.Conn) error { return server.Serve(ctx, c) }
	})
}

// newServer holds what all sessions share.
func newServer(ctx context.Context, d *wire.Daemon, store *mailbox.Store, preauth *auth.Account) *popsrv.Server {
	v := d.Values
	return &popsrv.Server{
		Hostname: v.String("hostname"), Accounts: d.Accounts, Throttle: d.Throttle,
		Plaintext: v.String("plaintext-auth"), StartTLS: true, Preauth: preauth, IdleTimeout: v.Duration("idle-timeout"),
		Open: func(ctx context.Context, a auth.Account) (*mailbox.Folder, error) {
			own, dir, err := d.StoreOf(store, a)
			if err != nil {
				return nil, err
			}
			return own.Open(ctx, dir)
		},
		Commands: d.Commands,
		Report:   func(e maillog.Session) { d.Log.Session(ctx, "pop3", e) },
	}
}
