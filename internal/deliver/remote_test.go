package deliver

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"postbag/internal/address"
	"postbag/internal/recipient"
	"postbag/internal/resolve"
	"postbag/internal/route"
	"postbag/internal/smtpout"
	"postbag/internal/spool"
	"postbag/internal/status"
	"postbag/internal/trust"
)

var ctx = context.Background()

func addr(s string) address.Address {
	a, err := address.ParseUnqualified(s)
	if err != nil {
		panic(err)
	}
	return a
}

// names is a resolver: MX hosts of a domain, "host preference"; addresses of a
// host. What it does not know does not exist.
type names struct {
	mx     map[string][]resolve.MX
	addrs  map[string]string
	signed string // the domain whose hosts are authentic
}

func (n names) MX(_ context.Context, domain string) ([]resolve.MX, bool, error) {
	if hosts, ok := n.mx[domain]; ok {
		return hosts, n.signed != "" && domain == n.signed, nil
	}
	return nil, false, status.Perm("look up "+domain, "5.1.2", "domain does not exist", errors.New("nxdomain"))
}

func (n names) Addrs(_ context.Context, host string) (addrs []netip.Addr, _ bool, err error) {
	if ip, ok := address.IsLiteral(host); ok {
		return []netip.Addr{ip}, false, nil
	}
	for _, a := range strings.Fields(n.addrs[host]) {
		if a == "servfail" {
			return nil, false, status.Temp("look up "+host, "4.4.3", "DNS look-up failed", errors.New("servfail"))
		}
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if len(addrs) == 0 {
		err = status.Perm("look up "+host, "5.4.4", "host has no address", errors.New("none"))
	}
	return addrs, false, err
}

// sender notes what it was asked for, and answers by host.
type sender struct {
	hops  []smtpout.Hop
	mail  smtpout.Mail
	fails map[string]error
}

func (s *sender) Deliver(_ context.Context, h smtpout.Hop, m smtpout.Mail, _ func() (io.ReadCloser, error)) ([]smtpout.Result, error) {
	s.hops, s.mail = append(s.hops, h), m
	if err := s.fails[h.Host]; err != nil {
		return nil, err
	}
	results := make([]smtpout.Result, len(m.Rcpts))
	for i := range results {
		results[i] = smtpout.Result{Host: h.Host, Reply: "250 ok"}
		if h.Socket == "" {
			results[i].TLS = "TLS 1.3 X"
		}
	}
	return results, nil
}

func (s *sender) tried() string {
	var all []string
	for _, h := range s.hops {
		all = append(all, h.Host)
	}
	return strings.Join(all, " ")
}

func destination(t *testing.T, to, by string) recipient.Destination {
	t.Helper()
	r, err := route.ParseTarget(by)
	if err != nil {
		t.Fatal(err)
	}
	return recipient.Destination{Name: "remote:" + to, Address: addr(to), Route: r}
}

func mail(text string) Mail {
	return Mail{ID: "1", From: addr("ann@example.org"), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

var dns = names{
	mx: map[string][]resolve.MX{
		"a.example":    {{Host: "mx1", Preference: 10}, {Host: "mx2", Preference: 20}},
		"ours.example": {{Host: "mx1", Preference: 10}, {Host: "US.example", Preference: 20}, {Host: "mx2", Preference: 20}},
		"loop.example": {{Host: "us.example", Preference: 5}, {Host: "mx2", Preference: 20}},
		"none.example": {{Host: "nowhere"}},
		"sick.example": {{Host: "nowhere"}, {Host: "sick"}},
		"many.example": {{Host: "mx1"}, {Host: "mx2"}, {Host: "mx1"}, {Host: "mx2"}, {Host: "mx1"}, {Host: "mx2"}},
	},
	addrs: map[string]string{"mx1": "192.0.2.1 2001:db8::1", "mx2": "192.0.2.2", "sick": "servfail", "smart": "192.0.2.9"},
}

func TestSendTriesTheHostsOfADestination(t *testing.T) {
	temp := status.Temp("connect", "4.4.1", "refused", nil)
	perm := status.Perm("greet", "5.3.2", "go away", nil)
	for name, c := range map[string]struct {
		to, by string
		fails  map[string]error
		tried  string
		class  status.Class
		code   string // "" is success
	}{
		"the best of them takes it":                   {to: "x@a.example", tried: "mx1"},
		"one that is dead is followed by the next":    {to: "x@a.example", fails: map[string]error{"mx1": temp}, tried: "mx1 mx2"},
		"one that refuses us is followed by the next": {to: "x@a.example", fails: map[string]error{"mx1": perm}, tried: "mx1 mx2"},
		"all refuse us":                               {to: "x@a.example", fails: map[string]error{"mx1": perm, "mx2": perm}, tried: "mx1 mx2", class: status.Permanent, code: "5.3.2"},
		"one refuses us and one is dead":              {to: "x@a.example", fails: map[string]error{"mx1": perm, "mx2": temp}, tried: "mx1 mx2", code: "4.4.1"},
		"one is dead and one refuses us":              {to: "x@a.example", fails: map[string]error{"mx1": temp, "mx2": perm}, tried: "mx1 mx2", code: "4.4.1"},
		"we are a worse host of the domain":           {to: "x@ours.example", fails: map[string]error{"mx1": temp}, tried: "mx1", code: "4.4.1"},
		"we are the best":                             {to: "x@loop.example", class: status.Permanent, code: "5.4.6"},
		"the domain does not exist":                   {to: "x@nx.example", class: status.Permanent, code: "5.1.2"},
		"its host does not exist":                     {to: "x@none.example", class: status.Permanent, code: "5.4.4"},
		"one does not, and of one we do not know":     {to: "x@sick.example", code: "4.4.3"},
		"there are many":                              {to: "x@many.example", fails: map[string]error{"mx1": temp, "mx2": temp}, tried: "mx1 mx2 mx1 mx2 mx1", code: "4.4.1"},
		"an address literal is its own host":          {to: "x@[192.0.2.7]", tried: "[192.0.2.7]"},
		"a route names the very host":                 {to: "x@loop.example", by: "smtp://smart:2525", tried: "smart"},
		"a route to a host that does not exist waits": {to: "x@a.example", by: "smtp://nowhere", code: "4.4.4"},
		"a host that is ourselves is the last":        {to: "x@a.example", fails: map[string]error{"mx1": status.Perm("greet", "5.4.6", "loop", smtpout.ErrLoop)}, tried: "mx1", class: status.Permanent, code: "5.4.6"},
		"and there is no other":                       {to: "x@a.example", by: "smtp://smart", fails: map[string]error{"smart": temp}, tried: "smart", code: "4.4.1"},
		"the next of several":                         {to: "x@a.example", by: "smtp://mx1 smtp://smart", fails: map[string]error{"mx1": temp}, tried: "mx1 smart"},
		"one of several that does not exist":          {to: "x@a.example", by: "smtp://nowhere smtp://smart", tried: "smart"},
		"without the password of its user we wait":    {to: "x@a.example", by: "smtps://eve@smart", code: "4.7.0"},
	} {
		if c.by == "" {
			c.by = "mx:"
		}
		s := &sender{fails: c.fails}
		r := &Remote{Sender: s, Resolver: dns, Hostname: "us.example"}
		got := r.Send(ctx, destination(t, c.to, c.by), mail("x\n"), []spool.Recipient{{Address: addr(c.to)}, {Address: addr(c.to)}})
		if s.tried() != c.tried || len(got) != 2 {
			t.Errorf("%s: tried %q, want %q", name, s.tried(), c.tried)
			continue
		}
		if err := got[1].Err; (err == nil) != (c.code == "") || err != nil && (status.Code(err) != c.code || status.ClassOf(err) != c.class) {
			t.Errorf("%s: %v (%s), want %s", name, err, status.Code(err), c.code)
		}
	}
}

func TestRoutes(t *testing.T) {
	for by, want := range map[string]smtpout.Hop{
		"smtps://ann;AUTH=LOGIN@smart": {Host: "smart", Port: 465, TLS: smtpout.Implicit, User: "ann", Password: "secret", Mechanism: "LOGIN"},
		"mx:":                          {Host: "mx1", Port: 2525},
		"smtp://smart":                 {Host: "smart", Port: 25},
		"smtp+starttls://ann@smart":    {Host: "smart", Port: 587, TLS: smtpout.StartTLS, User: "ann", Password: "secret"},
		"smtps://ann@smart:4465":       {Host: "smart", Port: 4465, TLS: smtpout.Implicit, User: "ann", Password: "secret"},
		"lmtp://smart:2424":            {Host: "smart", Port: 2424, LMTP: true},
		"lmtp:///run/dovecot/lmtp":     {Socket: "/run/dovecot/lmtp", LMTP: true, TLS: smtpout.None},
		"smtp+starttls://smart:1587":   {Host: "smart", Port: 1587, TLS: smtpout.StartTLS},
	} {
		s := &sender{}
		r := &Remote{Sender: s, Resolver: dns, Hostname: "us.example", Port: 2525, IP: "4",
			Password: func(_ context.Context, host, user string) (string, error) { return "secret", nil }}
		got := r.Send(ctx, destination(t, "x@a.example", by), mail("x\n"), []spool.Recipient{{Address: addr("x@a.example")}})
		if got[0].Err != nil || len(s.hops) != 1 {
			t.Errorf("%s: %v", by, got[0].Err)
			continue
		}
		hop := s.hops[0]
		if want.Socket == "" && (len(hop.Addrs) != 1 || !hop.Addrs[0].Is4()) {
			t.Errorf("%s: addresses %v", by, hop.Addrs)
		}
		hop.Addrs = nil
		if hop.String() != want.String() || hop.TLS != want.TLS || hop.LMTP != want.LMTP || hop.User != want.User || hop.Password != want.Password || hop.Mechanism != want.Mechanism {
			t.Errorf("%s: %+v, want %+v", by, hop, want)
		}
	}
}

// stsFor is a policy for one domain, whose hosts are mx1 and mx2.
type stsFor string

func (s stsFor) Policy(_ context.Context, domain string) (trust.Policy, bool) {
	return trust.Policy{Mode: trust.Enforce, MX: []string{"mx1", "mx2"}}, domain == string(s)
}

func TestWhatALetterThatRequiresTLSDemands(t *testing.T) {
	dns := dns
	dns.signed = "a.example"
	dns.addrs = map[string]string{"mx1": "192.0.2.1", "mx2": "192.0.2.2", "smart": "192.0.2.9", "filter": "127.0.0.1 ::1"}
	for by, c := range map[string]struct {
		to, tried string
		tls       smtpout.Policy
		required  bool
		code      string
	}{
		"mx: of a signed zone":              {"x@a.example", "mx1", smtpout.StartTLS, true, ""},
		"mx: with a policy of MTA-STS":      {"x@ours.example", "mx1", smtpout.StartTLS, true, ""},
		"mx: that anybody may have said":    {"x@many.example", "", 0, false, "5.7.30"},
		"smtp://smart":                      {"x@many.example", "smart", smtpout.StartTLS, true, ""},
		"smtps://smart":                     {"x@many.example", "smart", smtpout.Implicit, true, ""},
		"smtp://filter":                     {"x@many.example", "filter", smtpout.Opportunistic, false, ""},
		"lmtp:///run/dovecot/lmtp":          {"x@many.example", "", smtpout.None, false, ""},
		"smtp://filter smtp+starttls://mx2": {"x@many.example", "filter", smtpout.Opportunistic, false, ""},
	} {
		target := by
		if strings.HasPrefix(by, "mx:") {
			target = "mx:"
		}
		s := &sender{}
		r := &Remote{Sender: s, Resolver: dns, Hostname: "us.example", STS: stsFor("ours.example")}
		m := mail("x\n")
		m.RequireTLS = true
		got := r.Send(ctx, destination(t, c.to, target), m, []spool.Recipient{{Address: addr(c.to)}})
		if err := got[0].Err; (err == nil) != (c.code == "") || err != nil && (status.Code(err) != c.code || status.ClassOf(err) != status.Permanent) {
			t.Errorf("%s: %v, want %q", by, err, c.code)
			continue
		}
		if s.tried() != c.tried {
			t.Errorf("%s: tried %q, want %q", by, s.tried(), c.tried)
		}
		if c.code == "" && (s.hops[0].TLS != c.tls || s.mail.RequireTLS != c.required) {
			t.Errorf("%s: TLS %v, REQUIRETLS %v; want %v, %v", by, s.hops[0].TLS, s.mail.RequireTLS, c.tls, c.required)
		}
	}
}

// RFC 8689 section 5: a bounce is protected where it can be, and goes all the same
// where it cannot.
func TestABounceIsNotLostForWantOfTLS(t *testing.T) {
	dns := dns
	dns.signed = "a.example"
	for to, want := range map[string]struct {
		refuses string // the code of each host that is asked for REQUIRETLS
		sent    string // with REQUIRETLS, one for each time that a host was tried
	}{
		"x@a.example":    {"", "true"},
		"y@a.example":    {"5.7.30", "true true false"},
		"z@a.example":    {"5.7.10", "true true false"},
		"x@many.example": {"", "false"},
	} {
		var sent []string
		s := senderFunc(func(m smtpout.Mail) ([]smtpout.Result, error) {
			sent = append(sent, strconv.FormatBool(m.RequireTLS))
			if m.RequireTLS && want.refuses != "" {
				return nil, status.Perm("send", want.refuses, "no", nil)
			}
			return make([]smtpout.Result, 1), nil
		})
		r := &Remote{Sender: s, Resolver: dns, Hostname: "us.example"}
		m := mail("x\n")
		m.RequireTLS, m.From = true, address.Address{}
		got := r.Send(ctx, destination(t, to, "mx:"), m, []spool.Recipient{{Address: addr(to)}})
		if got[0].Err != nil || strings.Join(sent, " ") != want.sent {
			t.Errorf("%s: sent with REQUIRETLS %v, %v; want %s", to, sent, got[0].Err, want.sent)
		}
	}
}

// A senderFunc is what a host does.
type senderFunc func(m smtpout.Mail) ([]smtpout.Result, error)

func (f senderFunc) Deliver(_ context.Context, _ smtpout.Hop, m smtpout.Mail, _ func() (io.ReadCloser, error)) ([]smtpout.Result, error) {
	return f(m)
}

func TestTheEnvelopeAsksForNoMoreThanItNeeds(t *testing.T) {
	for text, want := range map[string]bool{
		"To: b@example.org\nSubject: ü\n\nx\n": false,
		"To: ü@example.org\n\nx\n":             true,
		"Subject: x\n\nTo: ü@example.org\n":    false,
	} {
		s := &sender{}
		r := &Remote{Sender: s, Resolver: dns, Hostname: "us.example"}
		m := mail(text)
		m.SMTPUTF8, m.Body, m.Ret, m.EnvID = true, "8BITMIME", "HDRS", "id"
		r.Send(ctx, destination(t, "x@a.example", "mx:"), m, []spool.Recipient{{Address: addr("x@a.example"), Orig: "rfc822;y@z", Notify: "NEVER"}})
		if s.mail.UTF8 != want {
			t.Errorf("%q: SMTPUTF8 %v", text, s.mail.UTF8)
		}
		if rcpt := s.mail.Rcpts[0]; s.mail.Ret != "HDRS" || s.mail.EnvID != "id" || rcpt.Orig != "rfc822;y@z" || rcpt.Notify != "NEVER" {
			t.Errorf("%+v", s.mail)
		}
	}
}

func TestKeys(t *testing.T) {
	r := &Remote{}
	same := func(a, b recipient.Destination) bool { return r.Key(a) == r.Key(b) }
	if !same(destination(t, "x@A.example", "mx:"), destination(t, "y@a.example", "mx:")) {
		t.Error("two of one domain are two destinations")
	}
	if same(destination(t, "x@a.example", "mx:"), destination(t, "x@b.example", "mx:")) {
		t.Error("two domains are one destination")
	}
	if !same(destination(t, "x@a.example", "smtp://smart"), destination(t, "x@b.example", "smtp://smart")) {
		t.Error("one host is two destinations")
	}
}

// What was found on the way is told, whether it led anywhere or not.
func TestTheWayIsTold(t *testing.T) {
	temp := status.Temp("connect", "4.4.1", "connection refused", nil)
	found := names{
		mx:    map[string][]resolve.MX{"w.example": {{Host: "one.w.example", Preference: 10}, {Host: "two.w.example", Preference: 20}}},
		addrs: map[string]string{"one.w.example": "192.0.2.1 2001:db8::1", "smart": "192.0.2.9"},
	}
	for _, tt := range []struct {
		by    string
		fails map[string]error
		want  string
	}{
		{"mx:", nil, "mx one.w.example 10, two.w.example 20; one.w.example 192.0.2.1 2001:db8::1 tls=opportunistic; TLS 1.3 X"},
		{"mx:", map[string]error{"one.w.example": temp}, "mx one.w.example 10, two.w.example 20; one.w.example 192.0.2.1 2001:db8::1 tls=opportunistic: connect: connection refused; two.w.example tls=opportunistic: look up two.w.example: host has no address: none"},
		{"smtps://smart", map[string]error{"smart": temp}, "smart 192.0.2.9 tls=implicit: connect: connection refused"},
		{"smtp+starttls://smart", nil, "smart 192.0.2.9 tls=verified; TLS 1.3 X"},
		{"lmtp:///run/lmtp", nil, "/run/lmtp"},
		{"discard:", nil, ""},
	} {
		r := &Remote{Sender: &sender{fails: tt.fails}, Resolver: found, Hostname: "us.example"}
		d := recipient.Destination{Address: addr("x@w.example"), Route: route.Nowhere()}
		if tt.by != "discard:" {
			d = destination(t, "x@w.example", tt.by)
		}
		got := r.Send(ctx, d, mail("x\n"), []spool.Recipient{{Address: addr("x@w.example")}})
		if got[0].Way != tt.want {
			t.Errorf("%s: %q, want %q", tt.by, got[0].Way, tt.want)
		}
	}
}
