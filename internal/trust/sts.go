package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"postbag/internal/address"
	"postbag/internal/durable"
)

// Limits of fetching a policy, RFC 8461 section 3.3.
const (
	fetchTime  = time.Minute
	maxPolicy  = 64 << 10
	retryFetch = 5 * time.Minute // after one that failed
)

// A Resolver answers from the DNS: *resolve.Resolver.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, error)
	Addrs(ctx context.Context, host string) (addrs []netip.Addr, authentic bool, err error)
}

// An STS knows the policies of domains. Resolver and FS must be set; it is safe
// for concurrent use.
type STS struct {
	Resolver Resolver
	FS       *durable.FS
	Dir      string         // where policies are kept; made when it is needed
	Roots    *x509.CertPool // nil: the system's
	Port     int            // of HTTPS; 0: 443
	Trouble  func(ctx context.Context, what string, err error)
	Missed   func(domain string, err error) // told of a policy that is announced and cannot be had; nil: nobody is

	mu     sync.Mutex
	failed map[string]time.Time // domains whose policy could not be fetched
}

// kept is a policy as it lies in a file.
type kept struct {
	ID      string    `json:"id"`
	Fetched time.Time `json:"fetched"`
	Text    string    `json:"text"`

	policy Policy
}

func (k *kept) valid() bool { return k != nil && time.Since(k.Fetched) < k.policy.MaxAge }

// Policy gives the policy of a domain that counts now; ok is false when there is
// none. A policy that cannot be fetched or is broken is none, unless an older one
// has not run out (RFC 8461 section 3.3): nobody must be able to turn it off by
// disturbing us.
func (s *STS) Policy(ctx context.Context, domain string) (p Policy, ok bool) {
	name, err := address.DomainASCII(domain)
	if err != nil || filepath.Base(name) != name || name[0] == '.' {
		return Policy{}, false // no name of a file, so none of a host
	}
	old := s.load(name)
	texts, err := s.Resolver.TXT(ctx, "_mta-sts."+name)
	id, has := recordID(texts)
	if err != nil || !has || old.valid() && old.ID == id {
		return policyOf(old)
	}
	if s.failedLately(name) {
		return policyOf(old)
	}
	fresh, err := s.fetch(ctx, name, id)
	if err != nil {
		s.trouble(ctx, "fetch mta-sts policy of "+name, err)
		if s.Missed != nil {
			s.Missed(name, err)
		}
		s.note(name)
		return policyOf(old)
	}
	if err := s.store(name, fresh); err != nil {
		s.trouble(ctx, "keep mta-sts policy of "+name, err)
	}
	return policyOf(fresh)
}

func policyOf(k *kept) (Policy, bool) {
	if !k.valid() || k.policy.Mode == NoMode {
		return Policy{}, false
	}
	return k.policy, true
}

func (s *STS) trouble(ctx context.Context, what string, err error) {
	if s.Trouble != nil {
		s.Trouble(ctx, what, err)
	}
}

func (s *STS) failedLately(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.failed[name]) < retryFetch
}

// note remembers a failure for a while.
func (s *STS) note(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, at := range s.failed {
		if time.Since(at) >= retryFetch {
			delete(s.failed, n)
		}
	}
	if s.failed == nil {
		s.failed = map[string]time.Time{}
	}
	s.failed[name] = time.Now()
}

// load reads the policy of a domain that is kept; nil when there is none.
func (s *STS) load(name string) *kept {
	data, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		return nil
	}
	k := new(kept)
	if json.Unmarshal(data, k) != nil {
		return nil
	}
	if k.policy, err = ParsePolicy(k.Text); err != nil {
		return nil
	}
	return k
}

func (s *STS) store(name string, k *kept) error {
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	err = s.FS.WriteFile(filepath.Join(s.Dir, name), data, 0o600)
	if errors.Is(err, iofs.ErrNotExist) {
		if err := s.FS.MkdirAll(s.Dir, 0o700); err != nil {
			return err
		}
		err = s.FS.WriteFile(filepath.Join(s.Dir, name), data, 0o600)
	}
	return err
}

// fetch gets a policy over HTTPS, without redirects (RFC 8461 section 3.3).
func (s *STS) fetch(ctx context.Context, name, id string) (*kept, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	transport := &http.Transport{
		DialContext:     s.dial,
		TLSClientConfig: &tls.Config{RootCAs: s.Roots},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+name+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := readPolicy(res)
	if err != nil {
		return nil, err
	}
	k := &kept{ID: id, Fetched: time.Now(), Text: text}
	if k.policy, err = ParsePolicy(text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return k, nil
}

// ErrPolicy says that a policy came and is none.
var ErrPolicy = errors.New("not a policy of mta-sts")

func readPolicy(res *http.Response) (string, error) {
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answer is %s", res.Status)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return "", fmt.Errorf("type %.40q is not text/plain", res.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxPolicy+1))
	if err == nil && len(text) > maxPolicy {
		err = fmt.Errorf("is longer than %d octets", maxPolicy)
	}
	return string(text), err
}

// dial connects to the policy's host by our own resolver.
func (s *STS) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port := s.Port
	if port == 0 {
		port = 443
	}
	addrs, _, err := s.Resolver.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		var c net.Conn
		c, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(a.String(), strconv.Itoa(port)))
		if err == nil {
			return c, nil
		}
	}
	return nil, err
}

// Demand is what a policy wants of a host; ok is false where it wants nothing. An
// error means that the host must not have the mail.
func (p Policy) Demand(host string) (d Demand, ok bool, err error) {
	if p.Mode != Enforce {
		return Demand{}, false, nil
	}
	if !p.Matches(host) {
		return Demand{}, false, fmt.Errorf("mta-sts policy does not name %s", host)
	}
	return Demand{Name: "sts", Usual: true}, true, nil
}
