package tlsreport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"postbag/internal/address"
	"postbag/internal/status"
)

// A Resolver answers from the DNS: *resolve.Resolver.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, error)
}

// A Reporter sends what its Recorder has counted. All fields must be set but
// Trouble and Client.
type Reporter struct {
	*Recorder
	Resolver Resolver
	Hostname string          // who reports
	From     address.Address // of reports, and whom to ask about them
	Submit   func(ctx context.Context, from, to address.Address, letter []byte) error
	Client   *http.Client // nil: one with a time limit and no redirects
	Trouble  func(ctx context.Context, what string, err error)
}

// Times of reports. RFC 8460 sections 4.1 and 5.5: from midnight to midnight,
// sent at a time of chance within four hours after it, and for a day if need be.
const (
	saveEvery = 10 * time.Minute
	spread    = 4 * time.Hour
	retry     = time.Hour
	giveUp    = 28 * time.Hour // after the end of the day
	postTime  = time.Minute
	maxURIs   = 5 // of a record
)

// Run saves what is counted, and sends reports, until ctx is done.
func (r *Reporter) Run(ctx context.Context) {
	delay, again := rand.N(spread), time.Time{}
	timer := time.NewTicker(saveEvery)
	defer timer.Stop()
	for {
		if r.now().After(again) && r.sendAll(ctx, delay) {
			again = r.now().Add(retry)
		}
		select {
		case <-ctx.Done():
			r.trouble(context.WithoutCancel(ctx), "keep tls results", r.Save())
			return
		case <-timer.C:
			r.trouble(ctx, "keep tls results", r.Save())
		}
	}
}

func (r *Reporter) trouble(ctx context.Context, what string, err error) {
	if err != nil && r.Trouble != nil {
		r.Trouble(ctx, what, err)
	}
}

// sendAll sends the reports of days that ended some time ago, and reports whether
// some are left.
func (r *Reporter) sendAll(ctx context.Context, delay time.Duration) (left bool) {
	days, err := r.over()
	r.trouble(ctx, "look for tls results", err)
	for _, day := range days {
		start, _ := time.Parse(dayForm, day)
		age := r.now().Sub(start.Add(24 * time.Hour))
		if age < delay || ctx.Err() != nil {
			continue
		}
		some, err := r.sendDay(ctx, start)
		if some && age > giveUp {
			r.trouble(ctx, "send tls reports of "+day, errors.New("given up"))
			err = r.FS.Remove(r.path(day))
			some = false
		}
		r.trouble(ctx, "send tls reports of "+day, err)
		left = left || some
	}
	return left
}

// sendDay sends the reports of a day, and reports whether some could not be sent.
// What has been sent is written down at once.
func (r *Reporter) sendDay(ctx context.Context, start time.Time) (left bool, err error) {
	day := start.Format(dayForm)
	domains, err := r.load(day)
	if err != nil {
		return true, err
	}
	for name, d := range domains {
		before := len(d.Sent)
		if err := r.send(ctx, name, d, start); err != nil {
			r.trouble(ctx, "send tls report to "+name, err)
		} else {
			delete(domains, name)
		}
		if len(d.Sent) > before && len(domains) > 0 {
			if err := r.store(day, domains); err != nil {
				return true, err
			}
		}
	}
	if len(domains) == 0 {
		return false, r.FS.Remove(r.path(day))
	}
	return true, r.store(day, domains)
}

// send sends the report of one domain to where it is wanted and has not gone yet.
// nil also means that none is wanted.
func (r *Reporter) send(ctx context.Context, name string, d *domain, start time.Time) error {
	texts, err := r.Resolver.TXT(ctx, "_smtp._tls."+name)
	if err != nil && status.ClassOf(err) == status.Permanent {
		return nil
	}
	if err != nil {
		return err
	}
	uris := parseRecord(texts)
	report := newReport(r.Hostname, r.From.String(), name, start, d)
	packed, err := report.packed()
	if err != nil {
		return err
	}
	var failed error
	for _, uri := range uris[:min(len(uris), maxURIs)] {
		if slices.Contains(d.Sent, uri) {
			continue
		}
		if err := r.sendTo(ctx, uri, report, packed); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		d.Sent = append(d.Sent, uri)
	}
	return failed
}

func (r *Reporter) sendTo(ctx context.Context, uri string, report *report, packed []byte) error {
	u, err := url.Parse(uri)
	if err != nil {
		return nil // a mistake of theirs, which waiting does not mend
	}
	switch u.Scheme {
	case "mailto":
		text, err := url.PathUnescape(u.Opaque)
		to, perr := address.Parse(text)
		if err != nil || perr != nil {
			return nil
		}
		return r.Submit(ctx, r.From, to, report.letter(r.From.String(), to.String(), r.now(), packed))
	case "https":
		return r.post(ctx, uri, packed)
	}
	return nil // RFC 8460 section 3: other schemes are passed over
}

// post is RFC 8460 section 5.4.
func (r *Reporter) post(ctx context.Context, uri string, packed []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, bytes.NewReader(packed))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	res, err := r.client().Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("post to %s: answer is %s", uri, res.Status)
	}
	return nil
}

func (r *Reporter) client() *http.Client {
	if r.Client != nil {
		return r.Client
	}
	dialer := &net.Dialer{Control: public}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// public lets nobody's record have us post to hosts that only we can reach.
func public(_, addr string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(addr)
	if ip := to.Addr().Unmap(); err == nil && (!ip.IsGlobalUnicast() || ip.IsPrivate()) {
		err = errors.New("address " + ip.String() + " is not public")
	}
	return err
}
