package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"postbag/internal/address"
	"postbag/internal/deliver"
	"postbag/internal/spool"
	"postbag/internal/tlsreport"
	"postbag/internal/trust"
)

// countTLS counts how TLS with other hosts goes, and reports it, if --tls-reports
// says from whom.
func (h *host) countTLS(remote *deliver.Remote, sts *trust.STS) error {
	text := h.Values.String("tls-reports")
	if text == "" {
		return nil
	}
	from, err := address.Parse(text)
	if err != nil {
		return err
	}
	recorder := &tlsreport.Recorder{FS: h.FS, Dir: h.Spool.Path("state", "tlsrpt")}
	remote.Reports, remote.ReportFrom = recorder, from
	sts.Missed = func(domain string, err error) {
		f := new(tlsreport.Failure)
		f.Result, f.Reason = tlsreport.FetchResult(err, errors.Is(err, trust.ErrPolicy))
		recorder.Note(tlsreport.Session{Domain: domain, Policy: tlsreport.Policy{Kind: tlsreport.STS, Domain: domain}, Failure: f})
	}
	h.reporter = &tlsreport.Reporter{
		Recorder: recorder, Resolver: h.resolver, Hostname: h.Values.String("hostname"), From: from,
		Submit: h.submitReport, Trouble: h.Log.Trouble,
	}
	return nil
}

// submitReport queues a report, as sendmail does its letters: the log is told of
// it at its first attempt.
func (h *host) submitReport(ctx context.Context, from, to address.Address, letter []byte) error {
	env := &spool.Envelope{From: from, To: []spool.Recipient{{Address: to}}, Proto: "local", UID: os.Geteuid()}
	d, err := h.Spool.Create(ctx, env)
	if err != nil {
		return fmt.Errorf("queue tls report: %w", err)
	}
	defer d.Discard()
	if _, err := d.Write(letter); err != nil {
		return fmt.Errorf("queue tls report: %w", err)
	}
	if err := d.Commit(ctx); err != nil {
		return fmt.Errorf("queue tls report: %w", err)
	}
	_ = h.Spool.Wake(ctx, env.ID) // without a runner it waits for the next one
	return nil
}

// validSender is for addresses that letters come from.
func validSender(s string) error {
	_, err := address.Parse(s)
	return err
}
