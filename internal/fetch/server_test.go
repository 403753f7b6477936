package fetch

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
)

// serve answers connections until the test ends, and returns the port.
func serve(t *testing.T, ln net.Listener, session func(net.Conn)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() { defer c.Close(); session(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func port(ln net.Listener) string { return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port) }

// certificate makes a pair for localhost, and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// An imapServer is go-imap's, which knows nothing of ours.
type imapServer struct {
	user *imapmemserver.User
	port string
}

func startIMAP(t *testing.T, config *tls.Config) *imapServer {
	t.Helper()
	mem := imapmemserver.New()
	user := imapmemserver.NewUser("ann", "secret")
	mem.AddUser(user)
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return mem.NewSession(), nil, nil
		},
		Caps:         imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapUIDPlus: {}, imap.CapESearch: {}},
		InsecureAuth: config == nil,
		TLSConfig:    config,
		Logger:       log.New(io.Discard, "", 0),
	})
	ln := listen(t)
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(deafListener{ln}) }()
	t.Cleanup(func() { server.Close(); <-done })
	return &imapServer{user, port(ln)}
}

// A deafListener keeps from go-imap's server that a client is gone while it
// writes: it would hold the locks of connection and mailbox for ever.
type deafListener struct{ net.Listener }

func (l deafListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return deafConn{c}, err
}

type deafConn struct{ net.Conn }

func (c deafConn) Write(p []byte) (int, error) {
	c.Conn.Write(p)
	return len(p), nil
}

// literal is a letter to be appended.
type literal struct{ *strings.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

func (s *imapServer) append(t *testing.T, folder, text string, options *imap.AppendOptions) {
	t.Helper()
	if options == nil {
		options = &imap.AppendOptions{}
	}
	if _, err := s.user.Append(folder, literal{strings.NewReader(text)}, options); err != nil {
		t.Fatal(err)
	}
}

func (s *imapServer) count(t *testing.T, folder string) int {
	t.Helper()
	data, err := s.user.Status(folder, &imap.StatusOptions{NumMessages: true})
	if err != nil {
		t.Fatal(err)
	}
	return int(*data.NumMessages)
}

// A popServer is a small POP3 server whose faults can be chosen.
type popServer struct {
	mu      sync.Mutex
	letters []popLetter
	noUIDL  bool
	cut     int         // letters end early, and the connection with them, after so many octets of the text; 0 is never
	tls     *tls.Config // STLS is offered
	port    string
	quits   int
}

type popLetter struct{ id, text string }

func startPOP(t *testing.T, s *popServer) *popServer {
	t.Helper()
	ln := listen(t)
	s.port = port(ln)
	serve(t, ln, s.session)
	return s
}

func (s *popServer) session(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock() // one at a time
	r := bufio.NewReader(c)
	gone := map[int]bool{}
	secure := s.tls == nil
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("+OK")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		n := 0
		if len(f) > 1 {
			n, _ = strconv.Atoi(f[1])
		}
		switch f[0] {
		case "CAPA":
			say("+OK\r\nPIPELINING\r\nUSER")
			if s.tls != nil && !secure {
				say("STLS")
			}
			say(".")
		case "STLS":
			say("+OK")
			c = tls.Server(c, s.tls)
			r, secure = bufio.NewReader(c), true
		case "PASS":
			if f[1] != "secret" || !secure {
				say("-ERR [AUTH] no")
			} else {
				say("+OK")
			}
		case "LIST":
			say("+OK")
			for i, l := range s.letters {
				say("%d %d", i+1, len(l.text))
			}
			say(".")
		case "UIDL":
			if s.noUIDL {
				say("-ERR unknown command")
				continue
			}
			say("+OK")
			for i, l := range s.letters {
				say("%d %s", i+1, l.id)
			}
			say(".")
		case "RETR":
			text := s.letters[n-1].text
			say("+OK")
			if s.cut > 0 {
				io.WriteString(c, text[:s.cut])
				return
			}
			if !strings.HasSuffix(text, "\r\n") {
				text += "\r\n"
			}
			io.WriteString(c, strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n..")[2:])
			say(".")
		case "DELE":
			gone[n] = true
			say("+OK")
		case "QUIT":
			var kept []popLetter
			for i, l := range s.letters {
				if !gone[i+1] {
					kept = append(kept, l)
				}
			}
			s.letters = kept
			s.quits++
			say("+OK")
			return
		default:
			say("+OK")
		}
	}
}

func (s *popServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.letters)
}

// letterText makes letters of some shape.
func letterText(i int) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: ann@example.org\r\nSubject: letter %d\r\n\r\n", i)
	switch i % 4 {
	case 1:
		b.WriteString(".dot\r\n..two\r\nFrom here\r\n>From there\r\n")
	case 2:
		b.WriteString(strings.Repeat("long "+strconv.Itoa(i)+"\r\n", 2000))
	case 3:
		b.WriteString("no line end")
	}
	return b.String()
}
