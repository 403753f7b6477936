package smtpout

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postbag/internal/address"
	"postbag/internal/status"
)

// A script is what a host says: a reply for each command that begins with a
// word, in turn. Commands without one get 250. It notes what it was sent.
type script struct {
	greeting string
	ehlo     string            // keywords, one a line
	replies  map[string]string // by verb; "|" separates those of several commands
	tls      *tls.Config
	hangUp   string // verb at which the connection is closed without a reply

	orderly bool // knows what may follow what
	sender  bool
	rcpts   int

	mu       sync.Mutex
	commands []string
	letters  []string
	conns    int
}

// host starts it on the loopback and gives the hop to it.
func (s *script) host(t *testing.T) Hop {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			go s.serve(c)
		}
	}()
	return Hop{Host: "example.com", Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Port: l.Addr().(*net.TCPAddr).Port}
}

func (s *script) serve(c net.Conn) {
	defer func() { c.Close() }()
	br := bufio.NewReader(c)
	greeting := s.greeting
	if greeting == "" {
		greeting = "220 hello"
	}
	fmt.Fprintf(c, "%s\r\n", greeting)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		verb, _, _ = strings.Cut(verb, ":")
		s.note(line)
		if s.hangUp != "" && verb == s.hangUp {
			return
		}
		switch {
		case verb == "BDAT":
			var n int
			fmt.Sscanf(line[5:], "%d", &n)
			b := make([]byte, n)
			io.ReadFull(br, b)
			s.text(string(b))
		case verb == "STARTTLS" && s.tls != nil:
			fmt.Fprint(c, "220 go\r\n")
			c = tls.Server(c, s.tls)
			br = bufio.NewReader(c)
			continue
		}
		reply := s.reply(verb)
		fmt.Fprint(c, reply)
		if verb == "DATA" && strings.HasPrefix(reply, "354") {
			s.text(readText(br))
			if s.hangUp == "." {
				return
			}
			fmt.Fprint(c, s.reply("."))
		}
		if verb == "QUIT" {
			return
		}
	}
}

func readText(br *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := br.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

func (s *script) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, line)
}

func (s *script) text(b string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letters = append(s.letters, b)
}

func (s *script) reply(verb string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.orderly {
		if no := s.strict(verb); no != "" {
			return no
		}
	}
	reply := s.planned(verb)
	s.follow(verb, reply)
	return reply
}

func (s *script) planned(verb string) string {
	if text, ok := s.replies[verb]; ok {
		first, rest, more := strings.Cut(text, "|")
		if more {
			s.replies[verb] = rest
		}
		return strings.ReplaceAll(first, "\n", "\r\n") + "\r\n"
	}
	switch verb {
	case "EHLO", "LHLO":
		lines := append([]string{"example.com"}, strings.Fields(strings.ReplaceAll(s.ehlo, " ", "\x00"))...)
		var b strings.Builder
		for i, l := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			b.WriteString("250" + sep + strings.ReplaceAll(l, "\x00", " ") + "\r\n")
		}
		return b.String()
	case "DATA":
		return "354 go\r\n"
	}
	return "250 2.0.0 ok\r\n"
}

// strict makes a host that knows what may follow what.
func (s *script) strict(verb string) string {
	switch verb {
	case "EHLO", "HELO", "LHLO", "RSET":
		s.sender, s.rcpts = false, 0
	case "MAIL":
		if s.sender {
			return "503 5.5.1 nested MAIL\r\n"
		}
	case "RCPT":
		if !s.sender {
			return "503 5.5.1 RCPT before MAIL\r\n"
		}
	case "DATA", "BDAT":
		if s.rcpts == 0 {
			return "554 5.5.1 no valid recipients\r\n"
		}
	}
	return ""
}

// follow notes what was accepted.
func (s *script) follow(verb, reply string) {
	switch {
	case verb == ".":
		s.sender, s.rcpts = false, 0
	case !strings.HasPrefix(reply, "2"):
		return
	}
	switch verb {
	case "MAIL":
		s.sender = true
	case "RCPT":
		s.rcpts++
	}
}

func (s *script) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.commands, "\n")
}

func to(names ...string) []Rcpt {
	var all []Rcpt
	for _, n := range names {
		all = append(all, Rcpt{Address: address.Address{Local: n, Domain: "example.com"}})
	}
	return all
}

var ann = address.Address{Local: "ann", Domain: "example.org"}

func source(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func client(t *testing.T) *Client {
	c := &Client{Hostname: "mx.example.org", Timeouts: Timeouts{Greeting: 5 * time.Second, Command: 5 * time.Second, Data: 5 * time.Second, Block: 5 * time.Second, End: 5 * time.Second}}
	t.Cleanup(c.Close)
	return c
}

// outcome is results in short: "ok" or code and class for each.
func outcome(results []Result) string {
	var words []string
	for _, r := range results {
		if r.Err == nil {
			words = append(words, "ok")
			continue
		}
		words = append(words, status.ClassOf(r.Err).String()+" "+status.Code(r.Err))
	}
	return strings.Join(words, ", ")
}

func TestDeliver(t *testing.T) {
	all := "PIPELINING\n8BITMIME\nSIZE 1000\nDSN\nSMTPUTF8"
	for name, c := range map[string]struct {
		script  *script
		hop     func(*Hop)
		mail    Mail
		want    string // of outcome, or the class and code of the error
		said    []string
		notSaid []string
	}{
		"a letter to two":                        {&script{ehlo: all}, nil, Mail{Rcpts: to("bob", "carl")}, "ok, ok", []string{"MAIL FROM:<ann@example.org> SIZE=25\nRCPT TO:<bob@example.com>\nRCPT TO:<carl@example.com>\nDATA"}, nil},
		"a host without EHLO":                    {&script{replies: map[string]string{"EHLO": "500 what"}}, nil, Mail{Rcpts: to("bob")}, "ok", []string{"HELO mx.example.org"}, nil},
		"one of two is unknown":                  {&script{ehlo: all, replies: map[string]string{"RCPT": "550 5.1.1 who|250 ok"}}, nil, Mail{Rcpts: to("bob", "carl")}, "permanent 5.1.1, ok", nil, nil},
		"both are, so there is no letter":        {&script{ehlo: all, replies: map[string]string{"RCPT": "550 5.1.1 who", "DATA": "554 nobody"}}, nil, Mail{Rcpts: to("bob", "carl")}, "permanent 5.1.1, permanent 5.1.1", []string{"RSET"}, nil},
		"both are, and the host wants a letter":  {&script{ehlo: all, replies: map[string]string{"RCPT": "550 5.1.1 who"}}, nil, Mail{Rcpts: to("bob", "carl")}, "permanent 5.1.1, permanent 5.1.1", []string{"DATA"}, []string{"Subject"}},
		"a host that wants a login":              {&script{ehlo: all, replies: map[string]string{"MAIL": "530 5.7.0 who are you"}}, nil, Mail{Rcpts: to("bob")}, "error temporary 4.5.1", nil, nil},
		"a host that mixes things up":            {&script{ehlo: all, replies: map[string]string{"MAIL": "503 5.5.1 nested MAIL"}}, nil, Mail{Rcpts: to("bob")}, "error temporary 4.5.1", nil, nil},
		"a host that is ourselves":               {&script{replies: map[string]string{"EHLO": "250 MX.example.org"}}, func(h *Hop) { h.Foreign = true }, Mail{Rcpts: to("bob")}, "error permanent 5.4.6", nil, []string{"MAIL"}},
		"a route may lead to ourselves":          {&script{replies: map[string]string{"EHLO": "250 MX.example.org"}}, nil, Mail{Rcpts: to("bob")}, "ok", nil, nil},
		"lines of a reply with several codes":    {&script{replies: map[string]string{"MAIL": "250-a\n550 b"}}, nil, Mail{Rcpts: to("bob")}, "permanent 5.0.0", nil, nil},
		"no DATA before the replies to RCPT":     {&script{replies: map[string]string{"RCPT": "550 5.1.1 who"}}, nil, Mail{Rcpts: to("bob")}, "permanent 5.1.1", []string{"RSET"}, []string{"DATA"}},
		"a mailbox that is full":                 {&script{ehlo: all, replies: map[string]string{"RCPT": "250 ok|452 4.2.2 full"}}, nil, Mail{Rcpts: to("bob", "carl")}, "ok, temporary 4.2.2", nil, nil},
		"a letter is refused before its end":     {&script{ehlo: all, replies: map[string]string{"DATA": "554 5.7.1 no"}}, nil, Mail{Rcpts: to("bob")}, "permanent 5.7.1", []string{"RSET"}, nil},
		"552 to RCPT means too many":             {&script{replies: map[string]string{"RCPT": "250 ok|552 too many|552 too many"}}, nil, Mail{Rcpts: to("bob", "carl")}, "ok, temporary 4.0.0", nil, nil},
		"the rest goes in another transaction":   {&script{ehlo: all, replies: map[string]string{"RCPT": "250 ok|452 4.5.3 too many|250 ok"}}, nil, Mail{Rcpts: to("bob", "carl")}, "ok, ok", []string{"DATA\nMAIL FROM:<ann@example.org> SIZE=25\nRCPT TO:<carl@example.com>\nDATA"}, nil},
		"so many as the host says":               {&script{ehlo: all + "\nLIMITS RCPTMAX=1"}, nil, Mail{Rcpts: to("bob", "carl")}, "ok, ok", []string{"DATA\nMAIL FROM:<ann@example.org> SIZE=25\nRCPT TO:<carl@example.com>\nDATA"}, nil},
		"a code of another class does not count": {&script{replies: map[string]string{"RCPT": "450 5.7.1 later"}}, nil, Mail{Rcpts: to("bob")}, "temporary 4.0.0", nil, nil},
		"a refusal of the sender for good":       {&script{ehlo: all, replies: map[string]string{"MAIL": "550 5.7.1 not you"}}, nil, Mail{Rcpts: to("bob", "carl")}, "permanent 5.7.1, permanent 5.7.1", nil, nil},
		"one that may pass is for the next host": {&script{ehlo: all, replies: map[string]string{"MAIL": "451 later"}}, nil, Mail{Rcpts: to("bob")}, "error temporary 4.0.0", nil, nil},
		"a host that greets with 554":            {&script{greeting: "554 no"}, nil, Mail{Rcpts: to("bob")}, "error temporary 4.3.2", nil, []string{"EHLO"}},
		"421 in the middle":                      {&script{replies: map[string]string{"RCPT": "421 bye"}}, nil, Mail{Rcpts: to("bob")}, "error temporary 4.3.2", nil, nil},
		"no greeting of SMTP":                    {&script{greeting: "HTTP/1.1 400"}, nil, Mail{Rcpts: to("bob")}, "error temporary 4.4.2", nil, nil},
		"a letter is refused":                    {&script{ehlo: all, replies: map[string]string{".": "554 5.7.1 spam"}}, nil, Mail{Rcpts: to("bob", "carl")}, "permanent 5.7.1, permanent 5.7.1", nil, nil},
		"the connection is lost after the dot":   {&script{ehlo: all, hangUp: "."}, nil, Mail{Rcpts: to("bob")}, "temporary 4.4.2", nil, nil},
		"it is lost before":                      {&script{ehlo: all, hangUp: "DATA"}, nil, Mail{Rcpts: to("bob")}, "error temporary 4.4.2", nil, nil},
		"a letter that is too large is not sent": {&script{ehlo: "SIZE 24"}, nil, Mail{Rcpts: to("bob")}, "error permanent 5.3.4", nil, []string{"MAIL"}},
		"one that just fits is":                  {&script{ehlo: "SIZE 25"}, nil, Mail{Rcpts: to("bob")}, "ok", []string{"SIZE=25"}, nil},
		"a limit of 0 is none":                   {&script{ehlo: "SIZE 0"}, nil, Mail{Rcpts: to("bob")}, "ok", []string{"SIZE=25"}, nil},
		"parameters that the host knows": {&script{ehlo: all}, nil, Mail{Ret: "HDRS", EnvID: "a b", Rcpts: []Rcpt{{ann, "rfc822;x+y@example.org", "NEVER"}}}, "ok",
			[]string{"MAIL FROM:<ann@example.org> SIZE=25 RET=HDRS ENVID=a+20b", "RCPT TO:<ann@example.org> NOTIFY=NEVER ORCPT=rfc822;x+2By@example.org"}, nil},
		"and none that it does not":                   {&script{}, nil, Mail{Ret: "HDRS", EnvID: "a", Rcpts: []Rcpt{{ann, "rfc822;x@y", "NEVER"}}}, "ok", []string{"MAIL FROM:<ann@example.org>\n", "RCPT TO:<ann@example.org>\n"}, nil},
		"a domain that is not ASCII has another form": {&script{}, nil, Mail{Rcpts: []Rcpt{{Address: address.Address{Local: "bob", Domain: "bücher.example"}}}}, "ok", []string{"RCPT TO:<bob@xn--bcher-kva.example>"}, nil},
		"a local part has not":                        {&script{}, nil, Mail{Rcpts: []Rcpt{{Address: address.Address{Local: "jörg", Domain: "example.com"}}}}, "error permanent 5.6.7", nil, []string{"MAIL"}},
		"SMTPUTF8 is declared where it is needed":     {&script{ehlo: all}, nil, Mail{Rcpts: []Rcpt{{Address: address.Address{Local: "jörg", Domain: "example.com"}}}}, "ok", []string{"MAIL FROM:<ann@example.org> SIZE=25 SMTPUTF8", "RCPT TO:<jörg@example.com>"}, nil},
		"LMTP answers for each":                       {&script{ehlo: all, replies: map[string]string{".": "250 ok\n452 4.2.2 full"}}, func(h *Hop) { h.LMTP = true }, Mail{Rcpts: to("bob", "carl")}, "ok, temporary 4.2.2", []string{"LHLO"}, []string{"EHLO"}},
		"BDAT where it is offered":                    {&script{ehlo: all + "\nCHUNKING"}, nil, Mail{Rcpts: to("bob")}, "ok", []string{"BDAT 25 LAST"}, []string{"DATA"}},
		"TLS is demanded and not offered":             {&script{ehlo: all}, func(h *Hop) { h.TLS = StartTLS }, Mail{Rcpts: to("bob")}, "error temporary 4.7.4", nil, []string{"MAIL"}},
		"no password goes in the clear":               {&script{ehlo: "AUTH PLAIN"}, nil, Mail{Rcpts: to("bob")}, "ok", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.mail.From = ann
			hop := c.script.host(t)
			if c.hop != nil {
				c.hop(&hop)
			}
			cl := client(t)
			results, err := cl.Deliver(t.Context(), hop, c.mail, source("Subject: x\n\n.dot\nend\n"))
			got := outcome(results)
			if err != nil {
				got = "error " + status.ClassOf(err).String() + " " + status.Code(err)
			}
			if got != c.want {
				t.Errorf("outcome %q, want %q (%v)", got, c.want, err)
			}
			said := c.script.said() + "\n"
			for _, s := range c.said {
				if !strings.Contains(said, s) {
					t.Errorf("it was not told %q but\n%s", s, said)
				}
			}
			for _, s := range c.notSaid {
				if strings.Contains(said, s) {
					t.Errorf("it was told %q:\n%s", s, said)
				}
			}
		})
	}
}

func TestTheTextArrivesAsItIs(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"dots at the start of lines":   {".a\n..b\n.\nc.\n", "..a\r\n...b\r\n..\r\nc.\r\n"},
		"no line end at the end":       {"a", "a\r\n"},
		"a bare CR ends a line":        {"a\r.\rb\n", "a\r\n..\r\nb\r\n"},
		"CRLF stays one line end":      {"a\r\nb\r\n", "a\r\nb\r\n"},
		"CR CR LF are two":             {"a\r\r\nb\n", "a\r\n\r\nb\r\n"},
		"empty":                        {"", ""},
		"a megabyte and more of lines": {strings.Repeat(".xxxxxxxxx\n", 110000), strings.Repeat("..xxxxxxxxx\r\n", 110000)},
	} {
		for _, ehlo := range []string{"PIPELINING", "CHUNKING"} {
			t.Run(name+" "+ehlo, func(t *testing.T) {
				s := &script{ehlo: ehlo}
				results, err := client(t).Deliver(t.Context(), s.host(t), Mail{From: ann, Rcpts: to("bob")}, source(c.text))
				if err != nil || outcome(results) != "ok" {
					t.Fatal(err, outcome(results))
				}
				want := c.want
				if ehlo == "CHUNKING" {
					want = strings.ReplaceAll("\n"+want, "\n.", "\n")[1:]
				}
				if got := strings.Join(s.letters, ""); got != want {
					t.Errorf("got %.80q, want %.80q", got, want)
				}
			})
		}
	}
}

func TestTheEncoderIsTheSameHoweverTheTextIsCut(t *testing.T) {
	text := []byte("a\r\r\n.\n\r\n..\r.b\n\n.c\r")
	whole := encoder{stuff: true}
	want := whole.end(whole.append(nil, text))
	for i := range text {
		for j := i; j < len(text); j++ {
			e := encoder{stuff: true}
			got := e.append(e.append(e.append(nil, text[:i]), text[i:j]), text[j:])
			if got = e.end(got); !bytes.Equal(got, want) {
				t.Fatalf("cut at %d and %d: %q, want %q", i, j, got, want)
			}
		}
	}
}

func TestALetterThatCannotBeReadIsNotCompleted(t *testing.T) {
	for _, ehlo := range []string{"PIPELINING", "CHUNKING"} {
		s := &script{ehlo: ehlo}
		broken := func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("half\n"), &failing{})), nil
		}
		_, err := client(t).Deliver(t.Context(), s.host(t), Mail{From: ann, Rcpts: to("bob")}, broken)
		if err == nil || status.ClassOf(err) != status.Temporary {
			t.Errorf("%s: %v", ehlo, err)
		}
		if strings.Contains(s.said(), "LAST") {
			t.Error("the letter was completed")
		}
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errors.New("damaged") }

func TestAConnectionIsUsedAgain(t *testing.T) {
	s := &script{ehlo: "PIPELINING"}
	hop, c := s.host(t), client(t)
	for range 5 {
		if results, err := c.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n")); err != nil || outcome(results) != "ok" {
			t.Fatal(err, outcome(results))
		}
	}
	if s.conns != 1 {
		t.Errorf("%d connections, want 1", s.conns)
	}
}

func TestAConnectionIsUsedAgainAfterARefusal(t *testing.T) {
	for name, replies := range map[string]map[string]string{
		"of all recipients": {"RCPT": "550 5.1.1 who|250 ok"},
		"of the sender":     {"MAIL": "550 5.1.8 who|250 ok"},
		"of DATA":           {"DATA": "554 5.7.1 no|354 go"},
		"of the letter":     {".": "554 5.7.1 no|250 ok"},
	} {
		for _, ehlo := range []string{"PIPELINING", "8BITMIME"} {
			s := &script{ehlo: ehlo, orderly: true, replies: maps.Clone(replies)}
			hop, c := s.host(t), client(t)
			first, err := c.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n"))
			if err != nil || !strings.HasPrefix(outcome(first), "permanent") {
				t.Errorf("%s, %s: %v %s", name, ehlo, err, outcome(first))
			}
			second, err := c.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n"))
			if err != nil || outcome(second) != "ok" || s.conns != 1 {
				t.Errorf("%s, %s: %v %s, %d connections, it was told\n%s", name, ehlo, err, outcome(second), s.conns, s.said())
			}
		}
	}
}

func TestManyRecipientsGoInTransactionsOfAHundred(t *testing.T) {
	s := &script{ehlo: "PIPELINING", orderly: true}
	var names []string
	for i := range 250 {
		names = append(names, fmt.Sprint("u", i))
	}
	results, err := client(t).Deliver(t.Context(), s.host(t), Mail{From: ann, Rcpts: to(names...)}, source("x\n"))
	if err != nil || strings.Contains(outcome(results), "t") || len(s.letters) != 3 || s.conns != 1 {
		t.Errorf("%v, %d letters, %d connections", err, len(s.letters), s.conns)
	}
}

func TestALostConnectionAfterTheFirstTransactionLeavesWhatIsDone(t *testing.T) {
	s := &script{ehlo: "PIPELINING\nLIMITS RCPTMAX=1", replies: map[string]string{".": "250 ok|421 bye"}}
	results, err := client(t).Deliver(t.Context(), s.host(t), Mail{From: ann, Rcpts: to("a", "b", "c")}, source("x\n"))
	if got := outcome(results); err != nil || got != "ok, temporary 4.0.0, temporary 4.4.2" {
		t.Error(err, got)
	}
}

func TestWhatIPv6RefusesForPolicyIsTriedOverIPv4(t *testing.T) {
	six := &script{ehlo: "PIPELINING", replies: map[string]string{"RCPT": "250 ok|550 5.7.1 no PTR for your IPv6 address|550 5.1.1 who"}}
	hop := six.host(t)
	four := &script{ehlo: "PIPELINING"}
	at4 := four.host(t)
	hop.Addrs = []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("127.0.0.1")}
	c := client(t)
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		port := at4.Port
		if strings.HasPrefix(addr, "[2001:db8::1]") {
			port = hop.Port
		}
		return net.Dial(network, fmt.Sprintf("127.0.0.1:%d", port))
	}
	results, err := c.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("a", "b", "c")}, source("x\n"))
	if got := outcome(results); err != nil || got != "ok, ok, permanent 5.1.1" {
		t.Error(err, got)
	}
	if got := four.said(); strings.Contains(got, "<a@") || !strings.Contains(got, "<b@") || strings.Contains(got, "<c@") {
		t.Errorf("over IPv4: %s", got)
	}
}

func TestARefusalBeforeTheEndOfTheLetterIsHeard(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		br := bufio.NewReader(c)
		fmt.Fprint(c, "220 hello\r\n")
		for _, reply := range []string{"250-x\r\n250 PIPELINING", "250 ok", "250 ok", "354 go"} {
			br.ReadString('\n')
			fmt.Fprint(c, reply+"\r\n")
		}
		io.CopyN(io.Discard, br, 100<<10)
		fmt.Fprint(c, "552 5.3.4 too large\r\n")
		c.(*net.TCPConn).CloseWrite()
		// What is still on its way is thrown away for a while, as a careful host does.
		io.CopyN(io.Discard, br, 3<<20)
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}()
	hop := Hop{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	results, err := client(t).Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source(strings.Repeat("x\n", 2<<20)))
	got := outcome(results)
	if err != nil {
		got = "error " + status.ClassOf(err).String()
	}
	// The reply may be lost with the connection; never is the letter taken.
	if got != "permanent 5.3.4" && got != "error temporary" {
		t.Error(got, err)
	}
}

func TestAnIdleConnectionThatWasClosedIsReplaced(t *testing.T) {
	s := &script{ehlo: "PIPELINING", replies: map[string]string{".": "250 ok"}}
	hop, c := s.host(t), client(t)
	if _, err := c.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n")); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	for _, list := range c.idle {
		list[0].conn.nc.(*net.TCPConn).CloseWrite()
	}
	c.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	results, err := c.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("y\n"))
	if err != nil || outcome(results) != "ok" || s.conns != 2 {
		t.Errorf("%v %s, %d connections", err, outcome(results), s.conns)
	}
}

func TestTheEndOfTheContextEndsAnAttempt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	hop := Hop{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	if _, err := client(t).Deliver(ctx, hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n")); err == nil {
		t.Error("a host that says nothing took a letter")
	}
}

func TestTheSecondAddressIsTried(t *testing.T) {
	s := &script{}
	hop := s.host(t)
	hop.Addrs = append([]netip.Addr{netip.MustParseAddr("127.0.0.9")}, hop.Addrs...)
	results, err := client(t).Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n"))
	if err != nil || outcome(results) != "ok" || !strings.Contains(results[0].Host, "127.0.0.1") {
		t.Error(err, results)
	}
}

// serverTLS is a certificate for example.com, and the pool that trusts it.
func serverTLS() (*tls.Config, *x509.CertPool) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, pool
}

func TestTLS(t *testing.T) {
	cfg, pool := serverTLS()
	for name, c := range map[string]struct {
		policy Policy
		host   string
		tls    *tls.Config
		roots  *x509.CertPool
		want   string
		secure bool
	}{
		"opportunistic takes any certificate":        {Opportunistic, "other.example", cfg, nil, "ok", true},
		"opportunistic goes on without":              {Opportunistic, "example.com", &tls.Config{}, nil, "ok", false},
		"a demanded one is verified":                 {StartTLS, "example.com", cfg, pool, "ok", true},
		"a demanded one for another name is refused": {StartTLS, "other.example", cfg, pool, "error 4.7.5", false},
		"encrypted takes any certificate":            {Encrypt, "other.example", cfg, nil, "ok", true},
		"but demands TLS":                            {Encrypt, "example.com", &tls.Config{}, nil, "error 4.7.5", false},
		"an unknown issuer is refused":               {StartTLS, "example.com", cfg, x509.NewCertPool(), "error 4.7.5", false},
		"none is none":                               {None, "example.com", cfg, pool, "ok", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{ehlo: "STARTTLS\nPIPELINING", tls: c.tls}
			hop := s.host(t)
			hop.TLS, hop.Host = c.policy, c.host
			cl := client(t)
			cl.RootCAs = c.roots
			results, err := cl.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n"))
			got := outcome(results)
			if err != nil {
				got = "error " + status.Code(err)
			}
			if got != c.want {
				t.Errorf("%s (%v), want %s", got, err, c.want)
			}
			if n := strings.Count(s.said(), "EHLO"); c.want == "ok" && c.secure != (n == 2 && s.conns == 1) {
				t.Errorf("secure = %v, want %v; it was told\n%s", !c.secure, c.secure, s.said())
			}
		})
	}
}

func TestHowTLSWentIsTold(t *testing.T) {
	cfg, pool := serverTLS()
	names, unknown := "certificate is valid for", "unknown authority"
	for name, c := range map[string]struct {
		policy Policy
		ehlo   string
		host   string
		watch  bool
		tls    *tls.Config
		roots  *x509.CertPool
		want   string // in the error; "": none
	}{
		"it is agreed on":                      {Opportunistic, "STARTTLS", "other.example", false, cfg, nil, ""},
		"it is not offered":                    {Opportunistic, "PIPELINING", "example.com", false, cfg, pool, "no STARTTLS"},
		"it is demanded and not offered":       {StartTLS, "PIPELINING", "example.com", false, cfg, pool, "no STARTTLS"},
		"it fails, and the letter goes":        {Opportunistic, "STARTTLS", "example.com", false, &tls.Config{}, pool, "unrecognized name"},
		"a demanded certificate is right":      {StartTLS, "STARTTLS", "example.com", false, cfg, pool, ""},
		"it is for another name":               {StartTLS, "STARTTLS", "other.example", false, cfg, pool, names},
		"its issuer is not known":              {StartTLS, "STARTTLS", "example.com", false, cfg, x509.NewCertPool(), unknown},
		"a watched one is right":               {Opportunistic, "STARTTLS", "example.com", true, cfg, pool, ""},
		"a watched one is for another name":    {Opportunistic, "STARTTLS", "other.example", true, cfg, pool, names},
		"the issuer of a watched is not known": {Opportunistic, "STARTTLS", "example.com", true, cfg, x509.NewCertPool(), unknown},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{ehlo: c.ehlo, tls: c.tls}
			hop := s.host(t)
			var told []Handshake
			hop.TLS, hop.Host, hop.Watch = c.policy, c.host, c.watch
			hop.Told = func(h Handshake) { told = append(told, h) }
			cl := client(t)
			cl.RootCAs = c.roots
			for range 2 { // the second goes over the same connection, if there is one
				_, err := cl.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n"))
				if failed := c.policy == StartTLS && c.want != ""; (err != nil) != failed {
					t.Errorf("Deliver = %v", err)
				}
				if err != nil {
					break
				}
			}
			if len(told) != 1 || (told[0].Err == nil) != (c.want == "") || c.want != "" && !strings.Contains(told[0].Err.Error(), c.want) {
				t.Fatalf("told %+v, want %q", told, c.want)
			}
			if !told[0].From.IsLoopback() || told[0].To != hop.Addrs[0] {
				t.Errorf("told of addresses %v and %v", told[0].From, told[0].To)
			}
		})
	}
}

func TestACertificateIsVerifiedByWhatTheHopSays(t *testing.T) {
	cfg, _ := serverTLS()
	for _, want := range []error{nil, errors.New("not that one")} {
		s := &script{ehlo: "STARTTLS", tls: cfg}
		hop := s.host(t)
		hop.TLS = Encrypt
		hop.Verify = func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				t.Error("no certificate")
			}
			return want
		}
		_, err := client(t).Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n"))
		if (err == nil) != (want == nil) || err != nil && status.Code(err) != "4.7.5" {
			t.Error(err)
		}
		if want != nil && strings.Contains(s.said(), "MAIL") {
			t.Error("the host got the letter all the same")
		}
	}
}

func TestAConnectionIsNotUsedForOtherDemands(t *testing.T) {
	s := &script{ehlo: "PIPELINING"}
	hop, c := s.host(t), client(t)
	for _, proof := range []string{"", "dane:1", "dane:2"} {
		hop.Proof = proof
		if _, err := c.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n")); err != nil {
			t.Fatal(err)
		}
	}
	if s.conns != 3 {
		t.Errorf("%d connections, want 3", s.conns)
	}
}

// RFC 8689 section 4.2.1: what requires TLS goes to nobody who does not promise
// the same.
func TestALetterMayRequireTLS(t *testing.T) {
	cfg, pool := serverTLS()
	for name, c := range map[string]struct {
		policy Policy
		ehlo   string
		want   string
	}{
		"to a host that offers it":     {StartTLS, "STARTTLS\nPIPELINING\nREQUIRETLS", "ok"},
		"to one that does not":         {StartTLS, "STARTTLS\nPIPELINING", "error 5.7.30"},
		"never without TLS":            {None, "REQUIRETLS", "error 5.7.10"},
		"nor where TLS cannot be had":  {StartTLS, "REQUIRETLS", "error 5.7.10"},
		"nor with another certificate": {Encrypt, "STARTTLS\nPIPELINING\nREQUIRETLS", "error 5.7.10"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{ehlo: c.ehlo, tls: cfg}
			hop := s.host(t)
			hop.TLS = c.policy
			if c.policy == Encrypt {
				hop.Verify = func(tls.ConnectionState) error { return errors.New("not the one of TLSA") }
			}
			cl := client(t)
			cl.RootCAs = pool
			results, err := cl.Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob"), RequireTLS: true}, source("x\n"))
			got := outcome(results)
			if err != nil {
				got = "error " + status.Code(err)
			}
			if got != c.want {
				t.Errorf("%s (%v), want %s", got, err, c.want)
			}
			if asked := strings.Contains(s.said(), "MAIL FROM:<ann@example.org> REQUIRETLS\n"); asked != (c.want == "ok") || !asked && strings.Contains(s.said(), "MAIL") {
				t.Errorf("it was told\n%s", s.said())
			}
		})
	}
}

func TestAuth(t *testing.T) {
	for name, c := range map[string]struct {
		offer   string
		replies map[string]string
		want    string
		said    string
	}{
		"PLAIN in one step":              {"AUTH LOGIN PLAIN", map[string]string{"AUTH": "235 ok"}, "ok", "AUTH PLAIN AGFubgBzZWNyZXQ="},
		"LOGIN in three":                 {"AUTH LOGIN", map[string]string{"AUTH": "334 VXNlcm5hbWU6", "YW5U": "334 UGFzc3dvcmQ6", "YW5UYQ==": ""}, "error 4.4.2", "AUTH LOGIN\nYW5u"},
		"a host that is gone in between": {"AUTH LOGIN", map[string]string{"AUTH": "334 VXNlcm5hbWU6", "YW5U": "334 UGFzc3dvcmQ6"}, "gone", "c2VjcmV0"},
		"a wrong password is temporary":  {"AUTH PLAIN", map[string]string{"AUTH": "535 5.7.8 wrong"}, "error 4.7.8", "AUTH PLAIN"},
		"nothing that both know":         {"AUTH GSSAPI", nil, "error 4.7.8", "EHLO"},
		"a server that cannot prove it":  {"AUTH SCRAM-SHA-256", map[string]string{"AUTH": "235 ok"}, "error 4.7.8", "AUTH SCRAM-SHA-256"},
		"a token in one step":            {"AUTH PLAIN;XOAUTH2 XOAUTH2", map[string]string{"AUTH": "235 ok"}, "ok", "AUTH XOAUTH2 dXNlcj1hbm4BYXV0aD1CZWFyZXIgc2VjcmV0AQE="},
		"a token that is refused":        {"AUTH XOAUTH2", map[string]string{"AUTH": "334 eyJzdGF0dXMiOiI0MDAifQ==", "": "535 5.7.8 no"}, "error 4.7.8", "AUTH XOAUTH2 dXNl"},
		"a token of RFC 7628":            {"AUTH OAUTHBEARER", map[string]string{"AUTH": "235 ok"}, "ok", "AUTH OAUTHBEARER "},
		"a long token waits":             {"AUTH XOAUTH2", map[string]string{"AUTH": "334 ", "DXNLCJ1HBM4BYXV0AD1CZWFYZXIGC2VJCMV0": ""}, "long", "AUTH XOAUTH2\ndXNlcj1hbm4BYXV0aD1CZWFyZXIgeHh4"},
		"the mechanism that is demanded": {"AUTH PLAIN LOGIN", map[string]string{"AUTH": "535 5.7.8 no"}, "error 4.7.8", "AUTH LOGIN"},
		"an old form of the keyword":     {"AUTH=PLAIN", map[string]string{"AUTH": "235 ok"}, "ok", "AUTH PLAIN AGFubgBzZWNyZXQ="},
		"a challenge that is not base64": {"AUTH CRAM-MD5", map[string]string{"AUTH": "334 ***"}, "error 4.7.8", "AUTH CRAM-MD5"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{ehlo: c.offer, replies: c.replies}
			if strings.HasPrefix(name, "LOGIN") {
				s.replies, c.want = map[string]string{"AUTH": "334 VXNlcm5hbWU6", "YW5U": "334 UGFzc3dvcmQ6", "C2VJCMV0": "235 ok"}, "ok"
			}
			hop := s.host(t)
			hop.User, hop.Password = "ann", "secret"
			switch {
			case strings.Contains(name, "RFC 7628"):
				hop.Mechanism = "OAUTHBEARER"
			case strings.Contains(name, "token"):
				hop.Mechanism = "XOAUTH2"
			case strings.Contains(name, "demanded"):
				hop.Mechanism = "LOGIN"
			}
			if c.want == "gone" {
				s.hangUp, c.want = "C2VJCMV0", "error 4.4.2"
			}
			if c.want == "long" {
				hop.Password, c.want = strings.Repeat("x", 600), "ok"
				s.replies = map[string]string{"AUTH": "334 "}
			}
			results, err := client(t).Deliver(t.Context(), hop, Mail{From: ann, Rcpts: to("bob")}, source("x\n"))
			got := outcome(results)
			if err != nil {
				got = "error " + status.Code(err)
				if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "c2Vj") {
					t.Error("the error holds the password")
				}
			}
			if got != c.want || !strings.Contains(s.said(), c.said) {
				t.Errorf("%s (%v), want %s; it was told\n%s", got, err, c.want, s.said())
			}
		})
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "250\r\n", "250-a\r\n251 b\r\n", "abc\r\n", "\r\n", "550 5.1.1 x\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := readReply(bufio.NewReader(strings.NewReader(s)))
		if err == nil && (r.code < 200 || r.code > 599 || len(r.lines) == 0) {
			t.Errorf("readReply(%q) = %+v", s, r)
		}
		if code := status.Code(r.refusal("x")); len(code) < 5 {
			t.Errorf("code %q", code)
		}
	})
}

// RFC 6710 sections 4.2 and 4.3: hosts that offer it are told what is urgent.
func TestAHostIsToldWhatIsUrgent(t *testing.T) {
	for name, c := range map[string]struct {
		ehlo     string
		priority int
		want     string
	}{
		"one that asks for it":       {"MT-PRIORITY", 9, "MAIL FROM:<ann@example.org> MT-PRIORITY=9\n"},
		"one that has more to say":   {"MT-PRIORITY MIXER", -3, "MAIL FROM:<ann@example.org> MT-PRIORITY=-3\n"},
		"not one that does not":      {"PIPELINING", 9, "MAIL FROM:<ann@example.org>\n"},
		"of an ordinary letter, too": {"MT-PRIORITY", 0, "MAIL FROM:<ann@example.org> MT-PRIORITY=0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{ehlo: c.ehlo}
			results, err := client(t).Deliver(t.Context(), s.host(t), Mail{From: ann, Rcpts: to("bob"), Priority: c.priority}, source("x\n"))
			if err != nil || outcome(results) != "ok" {
				t.Fatalf("%s (%v)", outcome(results), err)
			}
			if !strings.Contains(s.said(), c.want) {
				t.Errorf("it was told\n%s\nwant %s", s.said(), c.want)
			}
		})
	}
}

// RFC 2852 section 4.1.4: what must be back by a time is given only to hosts that
// promise it, and they are told what is left.
func TestAHostIsToldByWhenToDeliver(t *testing.T) {
	for name, c := range map[string]struct {
		ehlo, mode string
		left       time.Duration
		want       string
	}{
		"a host that knows time":           {"DELIVERBY", "RT", 90*time.Second + time.Second/2, " BY=90;RT\n"},
		"one that needs some":              {"DELIVERBY 60", "R", 90*time.Second + time.Second/2, " BY=90;R\n"},
		"one that needs more":              {"DELIVERBY 91,x", "R", 90*time.Second + time.Second/2, "error 5.4.7"},
		"one that knows none":              {"PIPELINING", "R", time.Hour, "error 5.3.3"},
		"no time is left":                  {"DELIVERBY", "R", time.Second / 2, "error 5.4.7"},
		"one that knows none, else waits":  {"PIPELINING", "N", time.Hour, "<ann@example.org>\n"},
		"one that needs more, else waits":  {"DELIVERBY 3600", "N", 90*time.Second + time.Second/2, " BY=90;N\n"},
		"what is late":                     {"DELIVERBY", "N", -9*time.Second - time.Second/2, " BY=-10;N\n"},
		"what is late since the dark ages": {"DELIVERBY", "N", -200 * 365 * 24 * time.Hour, " BY=-999999999;N\n"},
		"nobody has said when":             {"DELIVERBY", "", 0, "<ann@example.org>\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{ehlo: c.ehlo}
			hop := s.host(t)
			m := Mail{From: ann, Rcpts: to("bob"), ByMode: c.mode, By: time.Now().Add(c.left)}
			results, err := client(t).Deliver(t.Context(), hop, m, source("x\n"))
			got := s.said()
			if err != nil {
				got = "error " + status.Code(err)
			} else if timely := strings.HasPrefix(c.ehlo, "DELIVERBY"); results[0].Timely != timely {
				t.Errorf("it knows by when: %v, want %v", results[0].Timely, timely)
			}
			if !strings.Contains(got, c.want) || err != nil && strings.Contains(s.said(), "MAIL") {
				t.Errorf("%s (%v), want %s", got, err, c.want)
			}
		})
	}
}
