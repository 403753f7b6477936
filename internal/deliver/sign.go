package deliver

import (
	"bytes"
	"io"
	"net/netip"

	"postbag/internal/status"
)

// sign puts signatures of DKIM before a letter of our own: one that somebody has
// logged in to send, a local user, a client of our networks, or we ourselves.
func (r *Remote) sign(m Mail) (Mail, error) {
	if r.Signer == nil || !m.Ours && !r.inOurNets(m.ClientIP) {
		return m, nil
	}
	fields, err := r.Signer.Sign(m.Open)
	if err != nil {
		return m, status.Temp("sign "+m.ID, "4.3.0", "message cannot be signed now", err)
	}
	if len(fields) == 0 {
		return m, nil
	}
	open := m.Open
	m.Size += int64(len(fields))
	m.Open = func() (io.ReadCloser, error) {
		body, err := open()
		if err != nil {
			return nil, err
		}
		return &signedBody{io.MultiReader(bytes.NewReader(fields), body), body}, nil
	}
	return m, nil
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
