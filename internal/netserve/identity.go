package netserve

import (
	"crypto/tls"
	"crypto/x509"
	"net"
)

// A shownConn is a connection below TLS that remembers which certificate was
// shown on it: the pair in force may be another one by now.
type shownConn struct {
	net.Conn
	pair *tls.Certificate // nil: none, the session is an old one that goes on
}

// TrustClients asks clients for a certificate, and believes those that roots
// vouch for. A client without one, or with another, is served as ever. It is for
// the time before the first connection.
func (c *Certificates) TrustClients(roots *x509.CertPool) {
	c.clients = roots
	c.config.ClientAuth = tls.RequestClientCert // verified by trusted; others may go on
}

// trusted is the certificate of a client that we believe; nil without.
func (c *Certificates) trusted(state tls.ConnectionState) *x509.Certificate {
	if c.clients == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	between := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	leaf := state.PeerCertificates[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.clients, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil
	}
	return leaf
}

// Certificates are ours that was shown on this connection, and that of the client
// if it is believed. Each is nil when there is none.
func (c *Conn) Certificates() (own, client *x509.Certificate) {
	if c.tls == nil {
		return nil, nil
	}
	if c.shown.pair != nil {
		own = c.shown.pair.Leaf
	}
	return own, c.certs.trusted(c.tls.ConnectionState())
}
