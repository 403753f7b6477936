package trust

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"blitiri.com.ar/go/spf"
	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-msgauth/dmarc"

	"postbag/internal/address"
	"postbag/internal/message"
)

// A Judge finds out whether letters of strangers are from whom they say: by SPF
// (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 7489). DNS and Hostname must be set;
// it is safe for concurrent use.
//
// Trouble with the DNS is never held against a letter.
type Judge struct {
	DNS      Lookups
	Hostname string        // who judges, in Authentication-Results
	Timeout  time.Duration // of all look-ups for a letter; 0: 30 s
}

const (
	defaultJudging = 30 * time.Second
	maxSignatures  = 10 // of a letter that are verified
	maxAuthors     = 10 // domains of From that are asked for
)

// A Stranger is a letter and who has brought it.
type Stranger struct {
	IP     netip.Addr
	HELO   string
	From   address.Address // reverse-path
	Header *message.Header
	Open   func() (io.ReadCloser, error) // disk form
}

// A Disposition is what the domain of the author wants done with a letter that is
// not from there.
type Disposition string

// The strictest come last.
const (
	NoDisposition Disposition = "none"
	Quarantine    Disposition = "quarantine"
	Reject        Disposition = "reject"
)

// A Verdict is what was found out.
type Verdict struct {
	Field       message.Field // Authentication-Results, RFC 8601
	Disposition Disposition
	Domain      string // of the author, who wants it so
}

// identities are what a letter has proved to be from.
type identities struct {
	spf  *authres.SPFResult
	from string // the domain that SPF is about
	dkim []*authres.DKIMResult
}

// Judge judges a letter.
func (j *Judge) Judge(ctx context.Context, l Stranger) (Verdict, error) {
	timeout := j.Timeout
	if timeout == 0 {
		timeout = defaultJudging
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var ids identities
	var both sync.WaitGroup
	both.Go(func() { ids.spf, ids.from = j.spf(ctx, l) })
	var err error
	ids.dkim, err = j.dkim(ctx, l)
	both.Wait()
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Disposition: NoDisposition}
	results := []authres.Result{ids.spf}
	for _, r := range ids.dkim {
		results = append(results, r)
	}
	results = append(results, j.dmarc(ctx, l.Header, ids, &v)...)
	value := j.Hostname
	for _, r := range results {
		value += strings.TrimRight(authres.Format("", []authres.Result{r}), " ")
	}
	v.Field = message.NewField("Authentication-Results", value)
	return v, nil
}

// spf checks the reverse-path, or the name that the client gave itself where that
// is null (RFC 7208 section 2.4).
func (j *Judge) spf(ctx context.Context, l Stranger) (r *authres.SPFResult, domain string) {
	r = &authres.SPFResult{Value: authres.ResultNone}
	sender := ""
	if l.From.IsNull() {
		r.Helo, domain = l.HELO, l.HELO
	} else {
		domain, r.From = l.From.Domain, l.From.String()
		sender = "postmaster@" + domain
		if a, err := l.From.ASCII(); err == nil {
			sender, domain = a.String(), a.Domain
		}
	}
	if !l.IP.IsValid() {
		return r, domain
	}
	result, _ := spf.CheckHostWithSender(net.IP(l.IP.Unmap().AsSlice()), l.HELO, sender, spf.WithContext(ctx), spf.WithResolver(lookups{j.DNS}))
	r.Value = authres.ResultValue(result)
	return r, domain
}

// dkim verifies the signatures.
func (j *Judge) dkim(ctx context.Context, l Stranger) ([]*authres.DKIMResult, error) {
	if !l.Header.Has("DKIM-Signature") {
		return []*authres.DKIMResult{{Value: authres.ResultNone}}, nil
	}
	text, err := l.Open()
	if err != nil {
		return nil, err
	}
	defer text.Close()
	found, err := dkim.VerifyWithOptions(message.ToWire(text), &dkim.VerifyOptions{
		LookupTXT: lookups{j.DNS}.txt(ctx), MaxVerifications: maxSignatures,
	})
	if err != nil && len(found) == 0 {
		return []*authres.DKIMResult{{Value: authres.ResultTempError, Reason: "signatures cannot be read"}}, nil
	}
	results := make([]*authres.DKIMResult, len(found))
	for i, v := range found {
		results[i] = &authres.DKIMResult{Value: dkimValue(v.Err), Domain: v.Domain, Reason: reason(v.Err)}
	}
	return results, nil
}

func dkimValue(err error) authres.ResultValue {
	switch {
	case err == nil:
		return authres.ResultPass
	case dkim.IsTempFail(err):
		return authres.ResultTempError
	case dkim.IsPermFail(err):
		return authres.ResultPermError
	}
	return authres.ResultFail
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(err.Error(), "dkim: ")
}

// dmarc judges by the policies of the domains that From names, which is one in
// honest letters; of several the strictest counts (RFC 7489 section 6.6.1).
func (j *Judge) dmarc(ctx context.Context, h *message.Header, ids identities, v *Verdict) (results []authres.Result) {
	domains, err := authors(h)
	if err != nil {
		return []authres.Result{&authres.DMARCResult{Value: authres.ResultPermError, Reason: err.Error()}}
	}
	for _, domain := range domains {
		r := &authres.DMARCResult{From: domain}
		var wish Disposition
		r.Value, wish = j.aligned(ctx, domain, ids)
		if strictness(wish) > strictness(v.Disposition) || v.Domain == "" {
			v.Disposition, v.Domain = wish, domain
		}
		results = append(results, r)
	}
	return results
}

func strictness(d Disposition) int {
	return slices.Index([]Disposition{NoDisposition, Quarantine, Reject}, d)
}

var errAuthor = errors.New("no author")

// authors are the domains of From, as they stand in the DNS.
func authors(h *message.Header) ([]string, error) {
	var all []string
	for _, value := range h.Values("From") {
		list, err := address.ParseList(value)
		if err != nil {
			return nil, errAuthor
		}
		for _, m := range list {
			domain, err := address.DomainASCII(m.Address.Domain)
			if err != nil {
				return nil, errAuthor
			}
			if !slices.Contains(all, domain) {
				all = append(all, domain)
			}
		}
	}
	if len(all) == 0 || len(all) > maxAuthors {
		return nil, errAuthor
	}
	return all, nil
}

// aligned says whether a letter has proved to be from a domain, and if not what
// the domain wants done with it.
func (j *Judge) aligned(ctx context.Context, domain string, ids identities) (authres.ResultValue, Disposition) {
	p, err := j.policy(ctx, domain)
	switch {
	case errors.Is(err, dmarc.ErrNoPolicy):
		return authres.ResultNone, NoDisposition
	case dmarc.IsTempFail(err):
		return authres.ResultTempError, NoDisposition
	case err != nil:
		return authres.ResultPermError, NoDisposition
	}
	proved := map[authres.ResultValue]bool{}
	if aligned(domain, ids.from, p.SPFAlignment) {
		proved[ids.spf.Value] = true
	}
	for _, r := range ids.dkim {
		if aligned(domain, r.Domain, p.DKIMAlignment) {
			proved[r.Value] = true
		}
	}
	switch {
	case proved[authres.ResultPass]:
		return authres.ResultPass, NoDisposition
	case proved[authres.ResultTempError]:
		return authres.ResultTempError, NoDisposition
	}
	return authres.ResultFail, sampled(p)
}

// policy finds that of a domain, or of the organization that it belongs to (RFC
// 7489 section 6.6.3). Its Policy is the one that counts for the domain.
func (j *Judge) policy(ctx context.Context, domain string) (*dmarc.Record, error) {
	options := &dmarc.LookupOptions{LookupTXT: lookups{j.DNS}.txt(ctx)}
	p, err := dmarc.LookupWithOptions(domain, options)
	org := organization(domain)
	if !errors.Is(err, dmarc.ErrNoPolicy) || org == domain {
		return p, err
	}
	if p, err = dmarc.LookupWithOptions(org, options); err == nil && p.SubdomainPolicy != "" {
		p.Policy = p.SubdomainPolicy
	}
	return p, err
}

// sampled is the policy of a letter that fails. Those that the percentage leaves
// out get the next milder one (RFC 7489 section 6.6.4).
func sampled(p *dmarc.Record) Disposition {
	wish := Disposition(p.Policy)
	if p.Percent == nil || rand.IntN(100) < *p.Percent {
		return wish
	}
	if wish == Reject {
		return Quarantine
	}
	return NoDisposition
}

// RemoveForged takes away the Authentication-Results that say to be ours (RFC 8601
// section 5).
func (j *Judge) RemoveForged(h *message.Header) {
	h.Fields = slices.DeleteFunc(h.Fields, func(f message.Field) bool {
		return strings.EqualFold(f.Name, "Authentication-Results") && address.EqualDomain(server(f.Value()), j.Hostname)
	})
}

// server is who says to have written Authentication-Results: the first word that
// is no comment, quoted or not.
func server(value string) string {
	var b strings.Builder
	depth := 0
	for _, c := range value {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth = max(0, depth-1)
		case depth == 0 && c == ';':
			return b.String()
		case depth == 0 && (c == ' ' || c == '\t') && b.Len() > 0:
			return b.String()
		case depth == 0 && c > ' ' && c != '"':
			b.WriteRune(c)
		}
	}
	return b.String()
}

// String tells a verdict to a peer.
func (v Verdict) String() string {
	return fmt.Sprintf("neither SPF nor DKIM shows that it is from %s, whose policy is %s", v.Domain, v.Disposition)
}
