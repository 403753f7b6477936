package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/netip"
	"os"
	"time"

	"postbag/internal/address"
	"postbag/internal/config"
	"postbag/internal/smtpsrv"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// serveSMTP speaks SMTP on standard input and output (-bs): a local user, who
// may send anywhere and is known by his uid.
func serveSMTP(ctx context.Context, v *config.Values, r *request) error {
	s, err := openSpool(v)
	if err != nil {
		return err
	}
	srv := &smtpsrv.Server{
		Hostname: v.String("hostname"), Origin: v.String("origin"), UID: os.Getuid(), RelayFrom: nil,
		Intake: intake{v, s, newNaming(v), r}, Recipients: anybody{}, Masquerade: v.Strings("masquerade"),
	}
	if srv.AlwaysBCC, err = alwaysBCC(v); err != nil {
		return err
	}
	c := &stdio{in: v.Stdin, out: bufio.NewWriter(v.Stdout)}
	err = srv.Serve(ctx, c)
	if ferr := c.Flush(); err == nil {
		err = ferr
	}
	if err != nil {
		return status.Exit(status.ExTempFail, "smtp session", err)
	}
	return nil
}

// stdio is a pair of streams as the connection of a session.
type stdio struct {
	in  io.Reader
	out *bufio.Writer
}

var errNoTLS = errors.New("no TLS on standard input")

func (c *stdio) Read(p []byte) (int, error) {
	if err := c.Flush(); err != nil {
		return 0, err
	}
	return c.in.Read(p)
}

func (c *stdio) Write(p []byte) (int, error)                   { return c.out.Write(p) }
func (c *stdio) Flush() error                                  { return c.out.Flush() }
func (c *stdio) Proto() string                                 { return smtpsrv.Stdio }
func (c *stdio) Peer() netip.AddrPort                          { return netip.AddrPort{} }
func (c *stdio) Loopback() bool                                { return false }
func (c *stdio) Certificates() (own, client *x509.Certificate) { return nil, nil }
func (c *stdio) TLS() *tls.ConnectionState                     { return nil }
func (c *stdio) StartTLS(context.Context) error                { return errNoTLS }
func (c *stdio) PlaintextOK(string) bool                       { return false }
func (c *stdio) SetIdleTimeout(time.Duration)                  {} // a user may think as long as he likes
func (c *stdio) Busy(bool)                                     {}
func (c *stdio) Draining() <-chan struct{}                     { return nil }

// anybody takes every recipient, as sendmail with arguments does: one that there
// is not makes a bounce later.
type anybody struct{}

func (anybody) Local(address.Address) bool                                    { return false }
func (anybody) Relay(address.Address) bool                                    { return true }
func (anybody) Check(context.Context, address.Address, address.Address) error { return nil }

// An intake queues the letters of a session.
type intake struct {
	v     *config.Values
	s     *spool.Spool
	names naming
	r     *request
}

// Begin implements smtpsrv.Intake.
func (i intake) Begin(ctx context.Context, env *spool.Envelope) (smtpsrv.Transaction, error) {
	for k := range env.To {
		env.To[k].Address = i.names.recipient(env.To[k].Address)
	}
	d, err := i.s.Create(ctx, env)
	own := err == nil
	if errors.Is(err, os.ErrPermission) {
		d, err = i.s.Drop(ctx, env)
	}
	if err != nil {
		return nil, err
	}
	return &transaction{Draft: d, intake: i, own: own}, nil
}

// A transaction is one letter of a session.
type transaction struct {
	*spool.Draft
	intake intake
	own    bool
}

// Commit implements smtpsrv.Transaction.
func (t *transaction) Commit(ctx context.Context) ([]error, error) {
	env := t.Envelope()
	if err := t.Draft.Commit(ctx); err != nil {
		return nil, err
	}
	if !t.intake.r.later {
		wake(ctx, t.intake.v, t.intake.s, env.ID, t.own)
	}
	return make([]error, len(env.To)), nil
}
