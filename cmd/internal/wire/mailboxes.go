package wire

import (
	"context"
	"sync/atomic"
	"time"

	"postbag/internal/auth"
	"postbag/internal/mailbox"
	"postbag/internal/netserve"
	"postbag/internal/quota"
)

// A Handler runs one session.
type Handler func(ctx context.Context, c *netserve.Conn) error

// linger is for clients that come back at once.
const linger = time.Second

// ServeMailboxes runs sessions over one store of mailboxes, whose accounts may hold
// limit. What handler gives is
// asked for again at each reload; the account is that of --preauth, or nil. busy is
// for clients that are one too many.
func (d *Daemon) ServeMailboxes(ctx context.Context, busy string, limit quota.Limit, handler func(*mailbox.Store, *auth.Account) Handler) error {
	preauth, err := d.Preauth(ctx)
	if err != nil {
		return err
	}
	store := mailbox.NewStore(d.FS, mailbox.Options{Hostname: d.Values.String("hostname"), Log: d.Log.Logger(), Quota: limit, Linger: linger})
	defer store.Close()
	var now atomic.Pointer[Handler]
	take := func() error {
		h := handler(store, preauth)
		now.Store(&h)
		return nil
	}
	_ = take()
	return d.Serve(ctx, netserve.Options{
		Handle: func(ctx context.Context, c *netserve.Conn) error { return (*now.Load())(ctx, c) },
		Busy:   func(string, bool) string { return busy },
		Reload: take,
	})
}
