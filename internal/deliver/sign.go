package deliver

import (
	"bytes"
	"io"
	"net/netip"

	"postbag/internal/smtpout"
	"postbag/internal/status"
)

// sign puts signatures of DKIM before a letter of our own: one that somebody has
// logged in to send, a local user, a client of our networks, or we ourselves.
func (r *Remote) sign(m Mail) (Mail, error) {
	if r.Signer == nil || !m.Ours && !r.inOurNets(m.ClientIP) {
		return m, nil
	}
	fields, open, err := r.signatures(m.Open)
	if err != nil {
		return m, status.Temp("sign "+m.ID, "4.3.0", "message cannot be signed now", err)
	}
	if len(fields) == 0 {
		return m, nil
	}
	m.Open = func() (io.ReadCloser, error) {
		body, err := open()
		if err != nil {
			return nil, err
		}
		return &signedBody{io.MultiReader(bytes.NewReader(fields), body), body}, nil
	}
	return m, nil
}

// signatures gives those of a letter, and the form of the letter that they are for: a
// host without 8BITMIME must not break them (RFC 6376 section 5.3).
func (r *Remote) signatures(open func() (io.ReadCloser, error)) ([]byte, func() (io.ReadCloser, error), error) {
	fields, err := r.Signer.Sign(open)
	if err != nil || len(fields) == 0 {
		return nil, open, err
	}
	safe, changed, err := smtpout.SevenBit(open)
	if err == nil && changed {
		fields, err = r.Signer.Sign(safe)
	}
	return fields, safe, err
}

func (r *Remote) inOurNets(client string) bool {
	ip, err := netip.ParseAddr(client)
	if err != nil {
		return false
	}
	for _, n := range r.OurNets {
		if n.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// A signedBody is a letter behind its signatures.
type signedBody struct {
	io.Reader
	io.Closer
}
