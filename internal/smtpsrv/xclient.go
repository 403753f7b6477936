package smtpsrv

import (
	"net/netip"
	"strconv"
	"strings"

	"postbag/internal/address"
)

// A client is who the session is with. A proxy that we trust may say so by
// XCLIENT, as Postfix has it in XCLIENT_README.
type client struct {
	peer  netip.AddrPort // zero when unknown
	name  string         // what the DNS calls it; "" when unknown
	proxy bool           // somebody has told us: it is never the loopback
}

// xclientAttributes are those that have a meaning here.
const xclientAttributes = "NAME ADDR PORT PROTO HELO LOGIN"

// xclientOffered says that whoever is connected may tell for whom. What XCLIENT
// itself says of the client changes nothing of that.
func (s *session) xclientOffered() bool {
	return s.proto != Stdio && s.contains(s.XclientFrom, s.c.Peer().Addr(), s.c.Loopback())
}

// doXclient takes another client for the one that is connected. The session is
// as after the greeting.
func (s *session) doXclient(args string) {
	switch {
	case !s.xclientOffered():
		s.refuse(550, "5.7.0", "insufficient authorization")
	case s.mail != nil:
		s.refuse(503, "5.5.1", "XCLIENT inside a transaction")
	case args == "":
		s.refuse(501, "5.5.4", "syntax: XCLIENT attribute=value...")
	default:
		other := *s
		other.helo, other.esmtp, other.login = "", false, ""
		other.client.name, other.client.proxy = "", true
		for word := range strings.FieldsSeq(args) {
			if !other.attribute(word) {
				s.refuse(501, "5.5.4", "bad XCLIENT attribute or value: "+word)
				return
			}
		}
		s.client, s.helo, s.esmtp, s.login = other.client, other.helo, other.esmtp, other.login
		s.failures, s.idle, s.logins = 0, 0, 0
		s.trustPeer()
		s.greet()
	}
}

// attribute takes one NAME=value, whose value is xtext.
func (s *session) attribute(word string) (ok bool) {
	name, value, _ := strings.Cut(word, "=")
	value, err := address.ParseXText(value)
	unknown := strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]")
	if err != nil || value == "" {
		return false
	}
	if unknown {
		value = ""
	}
	switch strings.ToUpper(name) {
	case "NAME":
		s.client.name = clientName(value)
	case "ADDR":
		return s.client.setAddr(value)
	case "PORT":
		return s.client.setPort(value)
	case "PROTO":
		s.esmtp = strings.EqualFold(value, "ESMTP")
		return s.esmtp || strings.EqualFold(value, "SMTP")
	case "HELO":
		s.helo = clientName(value)
	case "LOGIN":
		s.login = value
	default:
		return false
	}
	return true
}

// setAddr takes an address, one of IPv6 with or without its prefix; "" is
// unknown.
func (c *client) setAddr(s string) bool {
	if len(s) > len("IPv6:") && strings.EqualFold(s[:len("IPv6:")], "IPv6:") {
		s = s[len("IPv6:"):]
	}
	addr, err := netip.ParseAddr(s)
	if s == "" {
		addr, err = netip.Addr{}, nil
	}
	c.peer = netip.AddrPortFrom(addr.Unmap().WithZone(""), c.peer.Port())
	return err == nil
}

func (c *client) setPort(s string) bool {
	port, err := strconv.ParseUint(s, 10, 16)
	c.peer = netip.AddrPortFrom(c.peer.Addr(), uint16(port))
	return err == nil || s == ""
}
