// Imapd serves the mailboxes of this host over IMAP: see imapd(8).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"postbag/cmd/internal/wire"
	"postbag/internal/account"
	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/imapsrv"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
	"postbag/internal/netserve"
	"postbag/internal/quota"
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
		Settings: wire.Settings(protocols, wire.Preauth, wire.Quota,
			config.Setting{Name: "max-size", Arg: "SIZE", Usage: "largest message in APPEND", Kind: config.Size, Default: "50M"},
			config.Setting{Name: "message-limit", Arg: "N", Usage: "messages that one command may work on; 0 for any number", Kind: config.Number, Default: "0", Valid: validLimit},
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
	wire.Scheduling()
	d, err := wire.Open(ctx, v, protocols)
	if err != nil {
		return err
	}
	defer d.Close()
	limit := quota.Limit{Bytes: v.Size("quota")}
	return d.ServeMailboxes(ctx, "* BYE [UNAVAILABLE] too many connections, try again later\r\n", limit, func(store *mailbox.Store, preauth *auth.Account) wire.Handler {
		server := newServer(ctx, d, store, preauth)
		return func(ctx context.Context, c *netserve.Conn) error { return server.Serve(ctx, c) }
	})
}

// newServer holds what all sessions share.
func newServer(ctx context.Context, d *wire.Daemon, store *mailbox.Store, preauth *auth.Account) *imapsrv.Server {
	v := d.Values
	return &imapsrv.Server{
		Accounts: d.Accounts, Throttle: d.Throttle, Plaintext: v.String("plaintext-auth"), StartTLS: true,
		Preauth: preauth, MaxSize: v.Size("max-size"), IdleTimeout: v.Duration("idle-timeout"), Version: config.Version, Commands: d.Commands,
		MessageLimit: v.Int("message-limit"),
		Open: func(ctx context.Context, a auth.Account) (*account.Tree, error) {
			own, dir, err := d.StoreOf(store, a)
			if err != nil {
				return nil, err
			}
			return account.Open(ctx, own, dir, account.Options{})
		},
		Report: func(e maillog.Session) { d.Log.Session(ctx, "imap", e) },
	}
}

// leastLimit is the least number of messages that clients have to be allowed (RFC
// 9738 section 3).
const leastLimit = 1000

func validLimit(text string) error {
	if n, err := strconv.Atoi(text); err != nil || n != 0 && n < leastLimit {
		return fmt.Errorf("0, or %d or more, is expected", leastLimit)
	}
	return nil
}
