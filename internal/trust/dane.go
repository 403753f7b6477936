package trust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"postbag/internal/resolve"
)

// Usages, selectors and matching types of RFC 6698 section 2.1, as far as SMTP
// knows them (RFC 7672 section 3.1).
const (
	usageTA = 2 // an authority of the host's own
	usageEE = 3 // the host's certificate

	selectorCert = 0
	selectorKey  = 1

	matchFull   = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// A TLSAResolver knows TLSA records: *resolve.Resolver.
type TLSAResolver interface {
	TLSA(ctx context.Context, host string, port int) (records []resolve.TLSA, base string, authentic bool, err error)
}

// DANE gives what a host demands by its TLSA records; ok is false where it has
// none. To be asked only where the answers that led to the host were authentic
// (RFC 7672 section 2.2): an error then means that the host must not be used now.
// names are those that may stand in a certificate of its own authority, beside the
// one that the records stand at: the host and the domain that it serves.
func DANE(ctx context.Context, r TLSAResolver, host string, port int, names ...string) (d Demand, ok bool, err error) {
	records, base, authentic, err := r.TLSA(ctx, host, port)
	if err != nil || !authentic || len(records) == 0 {
		return Demand{}, false, err
	}
	usable := slices.DeleteFunc(slices.Clone(records), func(t resolve.TLSA) bool { return !isUsable(t) })
	if len(usable) == 0 {
		// RFC 7672 section 2.2: records that nobody can use still demand TLS.
		return Demand{Name: "dane:unusable", Host: base, Says: says(records)}, true, nil
	}
	names = append([]string{base}, names...) // RFC 7672 section 3.2.2
	return Demand{
		Name:   "dane:" + digest(usable),
		Host:   base,
		Verify: func(cs tls.ConnectionState) error { return verifyDANE(cs, usable, names) },
		Says:   says(records),
	}, true, nil
}

// says is records as they stand in a zone.
func says(records []resolve.TLSA) (all []string) {
	for _, t := range records {
		all = append(all, fmt.Sprintf("%d %d %d %X", t.Usage, t.Selector, t.Matching, t.Data))
	}
	slices.Sort(all) // the DNS has no order
	return all
}

func isUsable(t resolve.TLSA) bool {
	size, ok := map[uint8]int{matchSHA256: sha256.Size, matchSHA512: sha512.Size}[t.Matching]
	return (t.Usage == usageTA || t.Usage == usageEE) && t.Selector <= selectorKey &&
		(t.Matching == matchFull && len(t.Data) > 0 || ok && len(t.Data) == size)
}

func digest(records []resolve.TLSA) string {
	h := sha256.New()
	for _, t := range records {
		h.Write([]byte{t.Usage, t.Selector, t.Matching})
		h.Write(t.Data)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// verifyDANE checks a chain against records: one that fits is enough.
func verifyDANE(cs tls.ConnectionState, records []resolve.TLSA, names []string) error {
	chain := cs.PeerCertificates
	if len(chain) == 0 {
		return mismatch("there is none")
	}
	var last error = mismatch("no TLSA record fits it")
	for _, t := range records {
		switch {
		case t.Usage == usageEE && matches(t, chain[0]):
			return nil // names and dates do not count, RFC 7672 section 3.1.1
		case t.Usage == usageTA:
			if err := verifyTA(t, chain, names); err == nil {
				return nil
			} else if _, found := authority(t, chain); found {
				last = err
			}
		}
	}
	return last
}

func matches(t resolve.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if t.Selector == selectorKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch t.Matching {
	case matchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, t.Data)
}

// authority finds the certificate of a chain that a record speaks of; one may
// stand whole in the record instead.
func authority(t resolve.TLSA, chain []*x509.Certificate) (*x509.Certificate, bool) {
	for _, c := range chain {
		if matches(t, c) {
			return c, true
		}
	}
	if t.Matching == matchFull && t.Selector == selectorCert {
		c, err := x509.ParseCertificate(t.Data)
		return c, err == nil
	}
	return nil, false
}

// verifyTA checks that the chain leads to the authority of a record, and that the
// certificate is for one of the names (RFC 7672 section 3.1.2).
func verifyTA(t resolve.TLSA, chain []*x509.Certificate, names []string) error {
	root, ok := authority(t, chain)
	if !ok {
		return mismatch("its authority is another")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := chain[0].Verify(opts); err != nil {
		return mismatch(err.Error())
	}
	for _, name := range names {
		if chain[0].VerifyHostname(strings.TrimSuffix(name, ".")) == nil {
			return nil
		}
	}
	return mismatch("it is for other names")
}
