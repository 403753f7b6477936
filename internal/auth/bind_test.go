package auth

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// handshake gives both sides' view of one TLS connection.
func handshake(t *testing.T, version uint16) (client tls.ConnectionState, server Exchange) {
	t.Helper()
	site := httptest.NewTLSServer(nil)
	defer site.Close()
	a, b := net.Pipe()
	outer := tls.Client(a, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	inner := tls.Server(b, &tls.Config{Certificates: site.TLS.Certificates})
	t.Cleanup(func() { a.Close(); b.Close() })
	done := make(chan error, 1)
	go func() { done <- inner.Handshake() }()
	if err := outer.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	state := inner.ConnectionState()
	return outer.ConnectionState(), Exchange{TLS: &state, Own: site.Certificate()}
}

func TestScramIsBoundToItsTLS(t *testing.T) {
	f := openText(t, "ann:{PLAIN}secret\n")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		state, x := handshake(t, version)
		elsewhere, _ := handshake(t, version)
		exporter, err := scram.NewTLSExporterBinding(&state)
		if err != nil {
			t.Fatal(err)
		}
		endpoint, err := scram.NewTLSServerEndpointBinding(&state)
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := scram.NewTLSExporterBinding(&elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name, mechanism string
			x               Exchange
			begin           func(*scram.Client) *scram.ClientConversation
			ok              bool
		}{
			{"tls-exporter", "SCRAM-SHA-256-PLUS", x, with(exporter), true},
			{"tls-server-end-point", "SCRAM-SHA-256-PLUS", x, with(endpoint), true},
			{"somebody between, with a TLS of his own", "SCRAM-SHA-256-PLUS", x, with(foreign), false},
			{"a certificate that is not ours", "SCRAM-SHA-256-PLUS", x, with(scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: make([]byte, 32)}), false},
			{"tls-unique, which there is not", "SCRAM-SHA-256-PLUS", x, with(scram.NewTLSUniqueBinding([]byte("x"))), false},
			{"-PLUS without a binding", "SCRAM-SHA-256-PLUS", x, (*scram.Client).NewConversation, false},
			{"a binding without -PLUS", "SCRAM-SHA-256", x, with(exporter), false},
			{"a client without bindings", "SCRAM-SHA-256", x, (*scram.Client).NewConversation, true},
			{"a client that was shown no -PLUS", "SCRAM-SHA-256", x, (*scram.Client).NewConversationAdvertisingChannelBinding, false},
			{"and rightly so", "SCRAM-SHA-256", Exchange{}, (*scram.Client).NewConversationAdvertisingChannelBinding, true},
			{"a binding to no TLS", "SCRAM-SHA-256-PLUS", Exchange{}, with(exporter), false},
		} {
			t.Run(tls.VersionName(version)+" "+tt.name, func(t *testing.T) {
				client, err := scram.SHA256.NewClient("ann", "secret", "")
				if err != nil {
					t.Fatal(err)
				}
				s, err := NewServer(tt.mechanism, f, tt.x)
				if err != nil {
					t.Fatal(err)
				}
				conv := tt.begin(client)
				if ok := talk(conv, s); ok != tt.ok || ok && (s.Account().Name != "ann" || !conv.Valid()) {
					t.Errorf("logged in: %v, want %v", ok, tt.ok)
				}
			})
		}
		if got := strings.Join(Mechanisms(f, false, x), " "); got != "SCRAM-SHA-256-PLUS SCRAM-SHA-256" {
			t.Errorf("offered: %s", got)
		}
	}
}

func with(b scram.ChannelBinding) func(*scram.Client) *scram.ClientConversation {
	return func(c *scram.Client) *scram.ClientConversation { return c.NewConversationWithChannelBinding(b) }
}

func TestExternal(t *testing.T) {
	f := openText(t, "ann:{PLAIN}x\nbob@other.example:{PLAIN}x\ncarl:!\n")
	cert := func(common string, mail ...string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: common}, EmailAddresses: mail}
	}
	for _, tt := range []struct {
		name   string
		client *x509.Certificate
		wanted string
		login  string // "" is refused
	}{
		{"by the common name", cert("ann"), "", "ann"},
		{"by a mail address", cert("Bob B.", "bob@other.example"), "", "bob@other.example"},
		{"the first that is an account", cert("ann", "nobody@example.org", "bob@other.example"), "", "bob@other.example"},
		{"the one that is wanted", cert("ann", "bob@other.example"), "ANN", "ann"},
		{"one that is wanted and not named", cert("ann"), "bob@other.example", ""},
		{"one that cannot log in with a password", cert("carl"), "", "carl"},
		{"no account", cert("dave"), "", ""},
		{"no name", cert(""), "", ""},
		{"no certificate", nil, "ann", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := NewServer("EXTERNAL", f, Exchange{Client: tt.client})
			if err != nil {
				t.Fatal(err)
			}
			if c, done, err := s.Next(nil); len(c) != 0 || c == nil || done || err != nil {
				t.Fatalf("without a response: %q %v %v", c, done, err)
			}
			_, done, err := s.Next([]byte(tt.wanted))
			if got := s.Account().Name; got != tt.login || done != (tt.login != "") || !done && !IsBadCredentials(err) {
				t.Errorf("logged in as %q (%v), want %q", got, err, tt.login)
			}
		})
	}
	if got := strings.Join(Mechanisms(f, false, Exchange{Client: cert("ann")}), " "); !strings.HasPrefix(got, "EXTERNAL") {
		t.Errorf("offered: %s", got)
	}
}
