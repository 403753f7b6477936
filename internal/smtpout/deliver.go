package smtpout

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"

	"postbag/internal/status"
)

// Deliver makes one attempt to give a letter to a host, at its addresses in turn.
// open gives the letter in disk form; it may be called more than once. An error
// means that nothing was decided about any recipient.
func (c *Client) Deliver(ctx context.Context, h Hop, m Mail, open func() (io.ReadCloser, error)) ([]Result, error) {
	l := &letter{open: open}
	results, via, err := c.attempt(ctx, h, m, l)
	if err == nil && via.Is6() {
		c.otherFamily(ctx, h, m, l, results)
	}
	return results, err
}

// attempt goes through a kept connection and the addresses of a host until a
// session decides, and tells the address of that.
func (c *Client) attempt(ctx context.Context, h Hop, m Mail, l *letter) ([]Result, netip.Addr, error) {
	if conn := c.take(h); conn != nil {
		results, err := c.send(ctx, conn, m, l)
		if err == nil || ctx.Err() != nil || !conn.stale {
			return results, conn.ip, err
		}
		// It had been closed at the other end, which says nothing of the host.
	}
	var last error
	for _, at := range endpoints(h) {
		conn, err := c.connect(ctx, h, at)
		err = m.insisting(err)
		if err == nil {
			var results []Result
			if results, err = c.send(ctx, conn, m, l); err == nil {
				return results, conn.ip, nil
			}
		}
		last = err
		if ctx.Err() != nil || status.ClassOf(err) == status.Permanent {
			break
		}
	}
	return nil, netip.Addr{}, last
}

// otherFamily gives those whom a host has refused over IPv6 for reasons of policy
// another try over IPv4: the refusal is often about the address, its name or its
// reputation, and the one of the other family has others.
func (c *Client) otherFamily(ctx context.Context, h Hop, m Mail, l *letter, results []Result) {
	h.Addrs = slices.DeleteFunc(slices.Clone(h.Addrs), netip.Addr.Is6)
	again := m
	again.Rcpts = nil
	var which []int
	for i, r := range results {
		if r.Err != nil && isPolicy(r.Err) {
			which, again.Rcpts = append(which, i), append(again.Rcpts, m.Rcpts[i])
		}
	}
	if len(which) == 0 || len(h.Addrs) == 0 || ctx.Err() != nil {
		return
	}
	second := &Client{Hostname: c.Hostname, Dial: c.Dial, RootCAs: c.RootCAs, Timeouts: c.Timeouts}
	defer second.Close()
	more, _, err := second.attempt(ctx, h, again, l)
	if err != nil {
		return // what the host said first stands
	}
	for k, i := range which {
		results[i] = more[k]
	}
}

// isPolicy tells a refusal of policy by its enhanced status code, RFC 3463
// section 3.8.
func isPolicy(err error) bool {
	var e *status.Error
	return errors.As(err, &e) && e.Reply != 0 && strings.HasPrefix(status.Code(err)[1:], ".7.")
}

// send sends on a connection and keeps it if it is still good.
func (c *Client) send(ctx context.Context, conn *conn, m Mail, l *letter) ([]Result, error) {
	release := conn.bind(ctx)
	results, err := conn.deliver(m, l)
	if conn.begun && !conn.broken {
		conn.reset()
	}
	if !release() || err != nil || conn.broken {
		conn.leave()
		return results, err
	}
	c.keep(conn)
	return results, nil
}
