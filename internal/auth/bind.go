package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/xdg-go/scram"
)

// errNoBinding says that a channel binding cannot be had.
var errNoBinding = errors.New("no such channel binding")

// binding gives the channel binding of a kind: tls-exporter (RFC 9266), or
// tls-server-end-point (RFC 5929 section 4). A Go server cannot have tls-unique.
func (x Exchange) binding(kind scram.ChannelBindingType) (scram.ChannelBinding, error) {
	switch {
	case x.TLS == nil:
	case kind == scram.ChannelBindingTLSExporter:
		return scram.NewTLSExporterBinding(x.TLS)
	case kind == scram.ChannelBindingTLSServerEndpoint && x.Own != nil:
		// What is ours is the peer's to the client, for whom the library asks.
		return scram.NewTLSServerEndpointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{x.Own}})
	}
	return scram.ChannelBinding{}, errNoBinding
}

// anyBinding is one that can be had, if any can.
func (x Exchange) anyBinding() (scram.ChannelBinding, error) {
	b, err := x.binding(scram.ChannelBindingTLSExporter)
	if err != nil {
		b, err = x.binding(scram.ChannelBindingTLSServerEndpoint)
	}
	return b, err
}

// converse begins the conversation of SCRAM with what the client says first,
// which names its binding: `p=KIND,` with one, `y,` when it has seen no -PLUS,
// `n,` when it has none (RFC 5802 section 7).
func (s *scramServer) converse(first []byte) error {
	kind, bound := bytes.CutPrefix(first, []byte("p="))
	if bound != s.plus {
		return ErrBadCredentials
	}
	if !bound {
		// A client that has been shown no -PLUS although we offer it is being
		// cheated; the library refuses that.
		if b, err := s.x.anyBinding(); err == nil {
			s.conv = s.server.NewConversationWithChannelBinding(b)
			return nil
		}
		s.conv = s.server.NewConversation()
		return nil
	}
	kind, _, _ = bytes.Cut(kind, []byte(","))
	b, err := s.x.binding(scram.ChannelBindingType(kind))
	if err != nil {
		return ErrBadCredentials
	}
	s.conv = s.server.NewConversationWithChannelBindingRequired(b)
	return nil
}

// An externalServer is EXTERNAL (RFC 4422 appendix A): the client is whom its
// certificate names.
type externalServer struct{ base }

// namesOf are the names of accounts that a certificate may be for: its mail
// addresses, and the common name.
func namesOf(c *x509.Certificate) []string {
	if c == nil {
		return nil
	}
	names := c.EmailAddresses[:len(c.EmailAddresses):len(c.EmailAddresses)]
	if c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	return names
}

func (s *externalServer) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	account, err := s.named(s.x.context(), string(response))
	s.account = account
	return nil, err == nil, err
}

// named finds the account of the certificate; of several the one that the client
// wants to be, or the first.
func (s *externalServer) named(ctx context.Context, wanted string) (Account, error) {
	s.login = wanted
	for _, name := range namesOf(s.x.Client) {
		if wanted != "" && key(name) != key(wanted) {
			continue
		}
		account, err := s.dir.Lookup(ctx, name)
		if err == nil {
			s.login = name
			return account, nil
		}
		if !errors.Is(err, ErrNoAccount) {
			return Account{}, err
		}
	}
	return Account{}, ErrBadCredentials
}
