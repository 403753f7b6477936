package popclient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
)

// play is a server that follows a script, of lines "S: text" that it says, "C:
// text" that it expects, and "close".
func play(t *testing.T, script string) net.Conn {
	client, server := net.Pipe()
	done := make(chan struct{})
	t.Cleanup(func() { client.Close(); <-done })
	go func() {
		defer close(done)
		defer server.Close()
		r := bufio.NewReader(server)
		var say strings.Builder
		flush := func() {
			io.WriteString(server, say.String())
			say.Reset()
		}
		for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
			line = strings.TrimSpace(line)
			if text, ok := strings.CutPrefix(line, "S:"); ok {
				say.WriteString(strings.TrimPrefix(text, " ") + "\r\n")
				continue
			}
			flush()
			if text, ok := strings.CutPrefix(line, "C: "); ok {
				got, err := r.ReadString('\n')
				if err != nil || got != text+"\r\n" {
					t.Errorf("client sent %q, %v, want %q", got, err, text)
					return
				}
			}
		}
		flush()
	}()
	return client
}

func open(t *testing.T, script string) *Client {
	t.Helper()
	c, err := New(play(t, script), 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSession(t *testing.T) {
	c := open(t, `
		S: +OK hello
		C: CAPA
		S: +OK
		S: uidl
		S: SASL PLAIN scram-sha-256
		S: .
		C: USER ann
		S: +OK
		C: PASS a b
		S: +OK in
		C: STAT
		S: +OK 2 30 more
		C: LIST
		S: +OK
		S: 1 10
		S: 2 20
		S: .
		C: UIDL
		S: +OK
		S: 1 a!b
		S: 2 c
		S: .
		C: TOP 1 0
		S: +OK
		S: Subject: x
		S:
		S: .
		C: DELE 2
		S: +OK
		C: QUIT
		S: +OK bye`)
	if c.Greeting != "hello" || !c.Has("UIDL") || c.Has("TOP") || fmt.Sprint(c.Mechanisms()) != "[PLAIN SCRAM-SHA-256]" {
		t.Errorf("greeting %q, capabilities %v", c.Greeting, c.caps)
	}
	if err := c.Login("ann", "a b"); err != nil {
		t.Fatal(err)
	}
	c.caps = map[string][]string{"UIDL": nil} // the script has no second CAPA
	count, size, err := c.Stat()
	if count != 2 || size != 30 || err != nil {
		t.Errorf("Stat = %d, %d, %v", count, size, err)
	}
	list, err := c.List()
	if fmt.Sprint(list) != "[{1 10 } {2 20 }]" || err != nil {
		t.Errorf("List = %v, %v", list, err)
	}
	list, err = c.UIDL()
	if fmt.Sprint(list) != "[{1 0 a!b} {2 0 c}]" || err != nil {
		t.Errorf("UIDL = %v, %v", list, err)
	}
	var top string
	err = c.Top(1, 0, func(_ int, r io.Reader) error {
		b, err := io.ReadAll(r)
		top = string(b)
		return err
	})
	if top != "Subject: x\r\n\r\n" || err != nil {
		t.Errorf("Top = %q, %v", top, err)
	}
	if done, err := c.Delete(2); fmt.Sprint(done) != "[2]" || err != nil {
		t.Errorf("Delete = %v, %v", done, err)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
	if err := c.Noop(); err == nil {
		t.Error("Noop after Quit is no error")
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct{ name, answer, code, text string }{
		{"with a code", "-ERR [AUTH] no such thing", "AUTH", "no such thing"},
		{"with a long code", "-ERR [sys/temp] later", "SYS/TEMP", "later"},
		{"without a code", "-ERR no", "", "no"},
		{"without anything", "-ERR", "", ""},
		{"with a code that does not end", "-ERR [AUTH no", "", "[AUTH no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, "S: +OK\nC: NOOP\nS: "+tt.answer+"\nC: RSET\nS: +OK")
			var e *Error
			if err := c.Noop(); !errors.As(err, &e) || e.Code != tt.code || e.Text != tt.text {
				t.Errorf("Noop = %#v", err)
			}
			if err := c.Reset(); err != nil {
				t.Errorf("a refusal ends the session: %v", err)
			}
		})
	}
}

func TestBrokenServers(t *testing.T) {
	tests := []struct {
		name, script string
		do           func(*Client) error
	}{
		{"an answer that is none", "C: NOOP\nS: OK", (*Client).Noop},
		{"no answer", "C: NOOP", (*Client).Noop},
		{"a line without end", "C: NOOP\nS: +OK " + strings.Repeat("x", 20_000), (*Client).Noop},
		{"a listing without end", "C: LIST\nS: +OK\nS: 1 1", func(c *Client) error { _, err := c.List(); return err }},
		{"a listing of nonsense", "C: LIST\nS: +OK\nS: 1 x\nS: .", func(c *Client) error { _, err := c.List(); return err }},
		{"a number that cannot be", "C: UIDL\nS: +OK\nS: 0 x\nS: .", func(c *Client) error { _, err := c.UIDL(); return err }},
		{"STAT of nonsense", "C: STAT\nS: +OK many", func(c *Client) error { _, _, err := c.Stat(); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(open(t, "S: +OK\n"+tt.script)); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestRetrieve(t *testing.T) {
	tests := []struct{ name, sent, want string }{
		{"dots are unstuffed", "..a\r\n.\r.b\r\nc..\r\n...\r\n.\r\n", ".a\r\n\r.b\r\nc..\r\n..\r\n"},
		{"empty", ".\r\n", ""},
		{"a bare LF begins no line", "a\n.\nb\n..\r\n.\r\n", "a\n.\nb\n..\r\n"},
		{"a bare CR begins no line", "a\r.\r\n.\r\n", "a\r.\r\n"},
		{"CR CR LF ends a line", "a\r\r\n.\r\n", "a\r\r\n"},
		{"a dot before a bare LF is no end", "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.sent + "+OK"), iotest.OneByteReader(strings.NewReader(tt.sent + "+OK"))} {
				br := bufio.NewReader(r)
				got, err := io.ReadAll(iotest.OneByteReader(&dotReader{r: br, start: true}))
				rest, _ := io.ReadAll(br)
				if string(got) != tt.want || err != nil || string(rest) != "+OK" {
					t.Errorf("read %q, %v, then %q, want %q", got, err, rest, tt.want)
				}
			}
			for cut := range tt.sent {
				_, err := io.ReadAll(&dotReader{r: bufio.NewReader(strings.NewReader(tt.sent[:cut])), start: true})
				if err != io.ErrUnexpectedEOF {
					t.Errorf("cut after %q: %v", tt.sent[:cut], err)
				}
			}
		})
	}
}

func TestRetrieveSeveralAtATime(t *testing.T) {
	c := open(t, `
		S: +OK
		C: CAPA
		S: +OK
		S: PIPELINING
		S: .
		C: RETR 1
		C: RETR 2
		C: RETR 3
		S: +OK
		S: one
		S: .
		S: -ERR gone
		S: +OK
		S: three
		S: .
		C: NOOP
		S: +OK`)
	var got []string
	err := c.Retrieve([]int{1, 2, 3}, func(n int, r io.Reader) error {
		head := make([]byte, 2) // the rest is passed over
		_, err := io.ReadFull(r, head)
		got = append(got, fmt.Sprint(n, string(head)))
		return err
	})
	var e *Error
	if fmt.Sprint(got) != "[1on 3th]" || !errors.As(err, &e) || e.Text != "gone" {
		t.Errorf("Retrieve = %v, %v", got, err)
	}
	if err := c.Noop(); err != nil {
		t.Error(err)
	}
}

func TestRetrieveEndsWhenTakeFails(t *testing.T) {
	c := open(t, "S: +OK\nC: CAPA\nS: -ERR\nC: RETR 1\nS: +OK")
	full := errors.New("disk full")
	if err := c.Retrieve([]int{1, 2}, func(int, io.Reader) error { return full }); !errors.Is(err, full) {
		t.Errorf("Retrieve = %v", err)
	}
	if err := c.Quit(); !errors.Is(err, full) {
		t.Errorf("Quit after that = %v", err)
	}
}

func TestAuth(t *testing.T) {
	long := strings.Repeat("p", 300)
	tests := []struct {
		name, script string
		client       sasl.Client
		wantErr      string
	}{
		{"initial response", "C: AUTH PLAIN AGEAYg==\nS: +OK", sasl.NewPlainClient("", "a", "b"), ""},
		{"initial response too long for the line", "C: AUTH PLAIN\nS: +\nC: AGEA" + strings.Repeat("cHBw", 100) + "\nS: +OK",
			sasl.NewPlainClient("", "a", long), ""},
		{"challenges", "C: AUTH LOGIN\nS: + VXNlcm5hbWU6\nC: YQ==\nS: + UGFzc3dvcmQ6\nC: Yg==\nS: +OK", silent{sasl.NewLoginClient("a", "b")}, ""},
		{"a refusal", "C: AUTH PLAIN AGEAYg==\nS: -ERR [AUTH] no", sasl.NewPlainClient("", "a", "b"), "auth: server says: no"},
		{"a challenge that is not base64", "C: AUTH LOGIN\nS: + !\nC: *\nS: -ERR", silent{sasl.NewLoginClient("a", "b")}, "auth: challenge is not base64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := open(t, "S: +OK\n"+tt.script).Auth(tt.client)
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.wantErr)) {
				t.Errorf("Auth = %v, want %q", err, tt.wantErr)
			}
		})
	}
}

// silent asks both questions of LOGIN, whose client would answer the first one
// without being asked.
type silent struct{ sasl.Client }

func (s silent) Start() (string, []byte, error) {
	mech, _, err := s.Client.Start()
	return mech, nil, err
}

func (s silent) Next(challenge []byte) ([]byte, error) {
	if string(challenge) == "Username:" {
		return []byte("a"), nil
	}
	return s.Client.Next(challenge)
}

func TestArgumentsStayOnTheirLine(t *testing.T) {
	c := open(t, "S: +OK")
	if err := c.Login("ann\r\nDELE 1", "x"); err == nil {
		t.Error("a user name with a line end is sent")
	}
}

func TestEveryReadHasItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		go func() {
			io.WriteString(server, "+OK\r\n")
			io.ReadFull(server, make([]byte, len("NOOP\r\n")))
			for range 5 { // slow, but alive
				time.Sleep(40 * time.Second)
				io.WriteString(server, "+")
			}
		}()
		c, err := New(client, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.Noop(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Noop = %v, want a deadline", err)
		}
		if took := time.Since(began); took != 5*40*time.Second+time.Minute {
			t.Errorf("gave up after %v", took)
		}
	})
}

func FuzzSession(f *testing.F) {
	f.Add("+OK\r\n+OK\r\nUIDL\r\nPIPELINING\r\n.\r\n+OK\r\n1 10\r\n.\r\n+OK\r\n1 a\r\n.\r\n+OK\r\n..x\r\n.\r\n+OK\r\n+OK\r\n")
	f.Fuzz(func(t *testing.T, says string) {
		client, server := net.Pipe()
		go func() { io.Copy(io.Discard, server) }()
		go func() { io.WriteString(server, says); server.Close() }()
		c, err := New(client, time.Second)
		if err != nil {
			return
		}
		defer c.Close()
		c.List()
		c.UIDL()
		c.Retrieve([]int{1, 2}, func(_ int, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
		c.Delete(1, 2)
		c.Quit()
	})
}
