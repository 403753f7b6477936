// Smtpd receives mail, brings it into the mailboxes of this host, and sends on
// what is for others: see smtpd(8).
package main

import (
	"context"
	"os"

	"postbag/cmd/internal/wire"
	"postbag/internal/config"
	"postbag/internal/netserve"
	"postbag/internal/recipient"
	"postbag/internal/smtpsrv"
)

var protocols = []string{smtpsrv.SMTP, smtpsrv.Submission, smtpsrv.Submissions, smtpsrv.LMTP}

func main() {
	os.Exit(config.Main(program(), os.Args))
}

func program() config.Program {
	return config.Program{
		Name:     "smtpd",
		Usage:    "receive, deliver and relay mail",
		Settings: settings(),
		Run:      run,
		Check:    check,
	}
}

// busy is the reply to a connection that is one too many.
func busy(_ string, ofAddress bool) string {
	if ofAddress {
		return "421 4.7.0 too many connections from your network, try again later\r\n"
	}
	return "421 4.3.2 too many connections, try again later\r\n"
}

func run(ctx context.Context, v *config.Values) error {
	if v.IsSet("run-queue") {
		return runQueue(ctx, v)
	}
	if err := wire.NoOperands(v); err != nil {
		return err
	}
	wire.Scheduling()
	h, err := open(ctx, v)
	if err != nil {
		return err
	}
	defer h.Close()
	stop := h.startPass // after a single session; a daemon has its own runner
	defer func() { stop() }()
	defer h.client.Close()
	return h.Serve(ctx, netserve.Options{
		Begin:  h.session,
		Busy:   busy,
		Reload: h.reload,
		Ready:  func() { stop = h.startRunner(ctx) },
	})
}

// session greets one client and serves it then, with the settings in force when it
// comes.
func (h *host) session(ctx context.Context, c *netserve.Conn) (rest func() error) {
	return h.server.Load().Begin(recipient.WithMemo(ctx), c)
}
