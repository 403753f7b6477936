package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"postbag/cmd/internal/wire"
	"postbag/internal/address"
	"postbag/internal/alias"
	"postbag/internal/config"
	"postbag/internal/deliver"
	"postbag/internal/queue"
	"postbag/internal/quota"
	"postbag/internal/recipient"
	"postbag/internal/resolve"
	"postbag/internal/smtpout"
	"postbag/internal/smtpsrv"
	"postbag/internal/spool"
	"postbag/internal/status"
	"postbag/internal/tlsreport"
	"postbag/internal/trust"
)

// A host is smtpd with all its parts.
type host struct {
	*wire.Daemon
	expander wire.Swap
	aliases  string // file of the expander in force
	server   atomic.Pointer[smtpsrv.Server]
	intake   *queue.Intake
	runner   *queue.Runner
	client   *smtpout.Client
	resolver *resolve.Resolver
	reporter *tlsreport.Reporter // nil without --tls-reports
}

// open puts the parts together.
func open(ctx context.Context, v *config.Values) (*host, error) {
	d, err := wire.Open(ctx, v, protocols)
	if err != nil {
		return nil, err
	}
	h := &host{Daemon: d}
	if err := h.loadRecipients(); err != nil {
		return nil, status.Exit(status.ExConfig, "recipients", err)
	}
	local := &deliver.Local{
		FS: d.FS, Hostname: v.String("hostname"), Trusted: d.Spool.Path("mail"), Quota: quota.Limit{Bytes: v.Size("quota")},
	}
	remote, err := h.remote(local)
	if err != nil {
		return nil, err
	}
	events := eventLog{d.Log}
	h.intake = &queue.Intake{Spool: d.Spool, Resolver: h, Local: local, Events: events}
	h.runner = &queue.Runner{
		Spool: d.Spool, Resolver: h, Local: local, Remote: remote, Events: events, Hostname: v.String("hostname"),
		RetryMin: v.Duration("retry-min"), RetryMax: v.Duration("retry-max"), Lifetime: v.Duration("queue-lifetime"),
		DelayWarning: v.Duration("delay-warning"), Concurrency: v.Int("concurrency"), StopTimeout: v.Duration("stop-timeout"),
		Spacing: v.Duration("destination-delay"), Rate: rates(v.Strings("destination-rate")), Forward: h.forward,
	}
	if h.reporter != nil {
		h.runner.Also = h.reporter.Run
	}
	if d.Metrics != nil {
		d.Metrics.Collect(h.tellQueue)
	}
	if err := h.makeServer(); err != nil {
		return nil, status.Exit(status.ExConfig, "sender-login", err)
	}
	return h, nil
}

// loadRecipients reads aliases, routes and accounts anew.
func (h *host) loadRecipients() error {
	e, err := wire.Recipients(h.Values, h.Accounts, h.Maildirs)
	if err != nil {
		return err
	}
	if path := h.Values.String("relay-recipients"); path != "" {
		e.RelayKnown = alias.OpenSet(path)
	}
	if old := h.expander.Get(); old != nil {
		if path := h.Values.String("aliases"); path == h.aliases {
			e.Aliases = old.Aliases // which knows what the file said before it was broken
		} else if err := e.Aliases.Check(); err != nil {
			return err
		}
	}
	if e.SRS, err = rewriter(h.Values, h.Key); err != nil {
		return err
	}
	h.aliases = h.Values.String("aliases")
	h.expander.Set(e)
	return nil
}

// reload takes what is in h.Values now; if that is broken, nothing of it.
func (h *host) reload() error {
	if err := h.loadRecipients(); err != nil {
		return err
	}
	if err := h.makeServer(); err != nil {
		return err
	}
	return h.expander.Get().Aliases.Check()
}

// makeServer makes what all sessions share.
func (h *host) makeServer() error {
	v := h.Values
	senders, err := h.senders()
	if err != nil {
		return err
	}
	s := &smtpsrv.Server{
		Hostname: v.String("hostname"), Origin: v.String("origin"), Intake: intake{h.intake}, Recipients: h,
		Throttle: h.Throttle, RelayFrom: v.Nets("relay-from"), XclientFrom: v.Nets("xclient-from"), AuthOnMX: v.Bool("auth-on-mx"), Plaintext: v.String("plaintext-auth"),
		StartTLS: true, Normalize: v.String("bare-newline") == "normalize", MaxSize: v.Size("max-size"),
		MaxRecipients: v.Int("max-recipients"), IdleTimeout: v.Duration("idle-timeout"), Log: h.Log, UID: os.Getuid(),
	}
	s.Strangers = h.strangers()
	s.Accounts, s.Senders, s.Masquerade = h.Accounts, senders, v.Strings("masquerade")
	if copyTo := v.String("always-bcc"); copyTo != "" {
		if s.AlwaysBCC, err = address.ParseUnqualified(copyTo); err != nil {
			return err
		}
	}
	h.server.Store(s)
	return nil
}

// Local, Relay, Check and Resolve ask the Expander in force.
func (h *host) Local(a address.Address) bool { return h.expander.Get().Local(a) }

// Relay implements smtpsrv.Recipients.
func (h *host) Relay(a address.Address) bool { return h.expander.Get().Relay(a) }

// Check implements smtpsrv.Recipients.
func (h *host) Check(ctx context.Context, from, a address.Address) error {
	return h.expander.Get().Check(ctx, from, a)
}

// Resolve implements queue.Resolver.
func (h *host) Resolve(ctx context.Context, from, a address.Address) ([]recipient.Destination, error) {
	return h.expander.Get().Resolve(ctx, from, a)
}

// An intake is queue.Intake as smtpsrv wants it.
type intake struct{ *queue.Intake }

func (i intake) Begin(ctx context.Context, env *spool.Envelope) (smtpsrv.Transaction, error) {
	return begun(i.Intake.Begin(ctx, env))
}

// begun keeps a transaction that there is none of from being one that is nil.
func begun[T smtpsrv.Transaction](t T, err error) (smtpsrv.Transaction, error) {
	if err != nil {
		return nil, err
	}
	return t, nil
}

// strangers takes letters of strangers, as --mail-auth says.
func (h *host) strangers() smtpsrv.Intake {
	mode := h.Values.String("mail-auth")
	if mode == "off" {
		return nil
	}
	judge := &trust.Judge{DNS: h.resolver, Hostname: h.Values.String("hostname")}
	return screen{&queue.Screen{Intake: h.intake, Judge: judge, Enforce: mode == "enforce"}}
}

// A screen is queue.Screen as smtpsrv wants it.
type screen struct{ *queue.Screen }

func (s screen) Begin(ctx context.Context, env *spool.Envelope) (smtpsrv.Transaction, error) {
	return begun(s.Screen.Begin(ctx, env))
}

// remote is the way to other hosts.
func (h *host) remote(local *deliver.Local) (*deliver.Remote, error) {
	v := h.Values
	resolver := resolve.New(v.String("resolver"))
	h.resolver = resolver
	if v.Bool("resolver-trust-ad") {
		resolver.TrustAD()
	}
	pool, err := wire.Roots(v, "tls-ca")
	if err != nil {
		return nil, status.Exit(status.ExConfig, "tls-ca", err)
	}
	logins, err := passwords(v)
	if err != nil {
		return nil, status.Exit(status.ExConfig, "password-file", err)
	}
	var signer *trust.Signer
	if keys := v.Strings("dkim-key"); len(keys) > 0 {
		if signer, err = trust.NewSigner(keys); err != nil {
			return nil, status.Exit(status.ExConfig, "dkim-key", err)
		}
	}
	h.client = &smtpout.Client{Hostname: v.String("hostname"), RootCAs: pool, Dial: dialFrom(v.Strings("bind"))}
	sts := &trust.STS{Resolver: resolver, FS: h.FS, Dir: h.Spool.Path("state", "mta-sts"), Roots: pool, Trouble: h.Log.Trouble}
	remote := &deliver.Remote{
		Sender: h.client, Resolver: resolver, Hostname: v.String("hostname"), Port: v.Int("smtp-port"),
		Password: logins.password, Files: deliver.Files{Local: local}, TLSA: resolver, IP: strings.TrimPrefix(v.String("ip"), "any"),
		Signer: signer, OurNets: v.Nets("relay-from"), STS: sts,
	}
	return remote, h.countTLS(remote, sts)
}

// dialFrom connects from the first of our addresses that is of the family of the
// other host; nil when there are none.
func dialFrom(addrs []string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if len(addrs) == 0 {
		return nil
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		to, err := netip.ParseAddrPort(addr)
		for _, a := range addrs {
			from, ferr := netip.ParseAddr(a)
			if err == nil && ferr == nil && from.Is4() == to.Addr().Is4() {
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
				break
			}
		}
		return d.DialContext(ctx, network, addr)
	}
}

// startRunner runs the queue beside the sessions; stop ends it and waits.
func (h *host) startRunner(ctx context.Context) (stop func()) {
	if h.Values.Bool("no-queue-runner") || h.Values.Bool("inetd") {
		return func() {}
	}
	rctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.runner.Run(rctx); err != nil {
			h.Log.Trouble(ctx, "run queue", err)
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}
