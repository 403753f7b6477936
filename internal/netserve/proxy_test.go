package netserve

import (
	"net"
	"syscall"
	"testing"

	"github.com/pires/go-proxyproto"
)

func TestProxyHeaders(t *testing.T) {
	s := launch(t, Options{ProxyFrom: prefixes("127.0.0.0/8")})
	addr := func(ip string) *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711} }
	v2 := func(command proxyproto.ProtocolVersionAndCommand, family proxyproto.AddressFamilyAndProtocol, from, to net.Addr) []byte {
		h := proxyproto.Header{Version: 2, Command: command, TransportProtocol: family, SourceAddr: from, DestinationAddr: to}
		b, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name, want string
		header     []byte
	}{
		{"v1", "hello smtp from 192.0.2.7 loopback=false tls=false", []byte("PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n")},
		{"v1 of IPv6", "hello smtp from 2001:db8::7 loopback=false tls=false", []byte("PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n")},
		{"v1 that does not know", "hello smtp from unknown loopback=false tls=false", []byte("PROXY UNKNOWN\r\n")},
		{"v1 that says loopback", "hello smtp from 127.0.0.1 loopback=false tls=false", []byte("PROXY TCP4 127.0.0.1 127.0.0.1 4711 25\r\n")},
		{"v2", "hello smtp from 192.0.2.7 loopback=false tls=false", v2(proxyproto.PROXY, proxyproto.TCPv4, addr("192.0.2.7"), addr("192.0.2.1"))},
		{"v2 of IPv6", "hello smtp from 2001:db8::7 loopback=false tls=false", v2(proxyproto.PROXY, proxyproto.TCPv6, addr("2001:db8::7"), addr("2001:db8::1"))},
		{"v2 of the proxy itself", "hello smtp from 127.0.0.1 loopback=false tls=false", v2(proxyproto.LOCAL, proxyproto.UNSPEC, nil, nil)},
		{"none", "", []byte("EHLO there\r\n")},
		{"a broken one", "", []byte("PROXY TCP4 nowhere\r\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, "tcp", s.addr)
			c.Write(append(tt.header, "one\r\n"...))
			c.hears(tt.want)
			if tt.want != "" {
				c.hears("one") // what came in the same segment is not lost
			}
		})
	}
}

func TestAHeaderOfStrangersIsText(t *testing.T) {
	s := launch(t, Options{ProxyFrom: prefixes("192.0.2.0/24")})
	c := dial(t, "tcp", s.addr)
	c.hears("hello smtp from 127.0.0.1 loopback=true tls=false")
	c.say("PROXY TCP4 192.0.2.7 192.0.2.1 4711 25")
	c.hears("PROXY TCP4 192.0.2.7 192.0.2.1 4711 25")
}

func TestAServerThatStopsDoesNotWaitForAHeader(t *testing.T) {
	s := launch(t, Options{ProxyFrom: prefixes("127.0.0.0/8")})
	c := dial(t, "tcp", s.addr)
	_ = c
	s.signals <- syscall.SIGTERM
	s.end(t)
}
