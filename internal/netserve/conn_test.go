package netserve

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair gives a Conn and its client, with fake time in a bubble.
func pair() (*Conn, net.Conn) {
	a, b := net.Pipe()
	return newConn(&server{draining: make(chan struct{})}, a, "smtp"), b
}

// Each read has its own time: one who sends slowly is not cut (defect 6 of
// go-smtp's server), one who is silent is.
func TestEachReadHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client := pair()
		c.SetIdleTimeout(5 * time.Minute)
		go func() {
			for range 20 {
				time.Sleep(4 * time.Minute)
				client.Write([]byte("x"))
			}
		}()
		buf := make([]byte, 1)
		for i := range 20 {
			if _, err := c.Read(buf); err != nil {
				t.Fatalf("octet %d: %v", i, err)
			}
		}
		start := time.Now()
		if _, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 5*time.Minute {
			t.Errorf("%v after %v, want the deadline after 5m", err, time.Since(start))
		}
	})
}

func TestOneWhoTakesNothingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair()
		c.Write([]byte("x"))
		start := time.Now()
		if err := c.Flush(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != writeTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// writes counts them.
type writes struct {
	net.Conn
	n   int
	all strings.Builder
}

func (w *writes) Write(p []byte) (int, error) {
	w.n++
	return w.all.Write(p)
}

func (w *writes) Read([]byte) (int, error)         { return 0, io.EOF }
func (w *writes) SetReadDeadline(time.Time) error  { return nil }
func (w *writes) SetWriteDeadline(time.Time) error { return nil }

func TestWritesArePutTogether(t *testing.T) {
	c, _ := pair()
	w := &writes{Conn: c.nc}
	c.nc = w
	for range 100 {
		c.Write([]byte("250 Ok\r\n"))
	}
	if w.n != 0 {
		t.Errorf("%d writes before the session reads", w.n)
	}
	c.Read(make([]byte, 1))
	if w.n != 1 || w.all.String() != strings.Repeat("250 Ok\r\n", 100) {
		t.Errorf("%d writes of %d octets", w.n, w.all.Len())
	}
	c.Write([]byte("a"))
	c.Write([]byte(strings.Repeat("b", flushSize+1)))
	if w.n != 3 || !strings.HasSuffix(w.all.String(), "\nabb"+strings.Repeat("b", flushSize-1)) {
		t.Errorf("%d writes, much output comes late or in disorder", w.n)
	}
}

// Output of any length comes as it was written, and one who waits has no room for it.
func TestOutputTakesRoomOnlyWhileThereIsSome(t *testing.T) {
	c, _ := pair()
	w := &writes{Conn: c.nc}
	c.nc = w
	var want strings.Builder
	for i, n := range []int{1, flushSize - 1, 1, flushSize, 5, flushSize - 5, flushSize + 1, 0, 3} {
		part := strings.Repeat(string(rune('a'+i)), n)
		want.WriteString(part)
		if got, err := c.Write([]byte(part)); got != n || err != nil {
			t.Errorf("write %d: %d, %v", n, got, err)
		}
	}
	c.Read(make([]byte, 1))
	if w.all.String() != want.String() {
		t.Errorf("%d octets of %d, or others", w.all.Len(), want.Len())
	}
	if c.out != nil || c.kept != 0 {
		t.Errorf("there is room for output while nothing is to be written")
	}
}

func TestWaitInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client := pair()
		time.AfterFunc(time.Second, c.Wake)
		if ok, err := c.WaitInput(); ok || err != nil {
			t.Errorf("woken: %v, %v", ok, err)
		}
		c.Wake()
		c.Wake()
		if ok, err := c.WaitInput(); ok || err != nil {
			t.Errorf("woken before: %v, %v", ok, err)
		}
		time.AfterFunc(time.Second, func() { client.Write([]byte("DONE\r\n")) })
		if ok, err := c.WaitInput(); !ok || err != nil {
			t.Errorf("input: %v, %v", ok, err)
		}
		if ok, err := c.WaitInput(); !ok || err != nil {
			t.Errorf("input that was not taken: %v, %v", ok, err)
		}
		c.Wake() // does not disturb a read
		buf := make([]byte, 100)
		if n, err := c.Read(buf); string(buf[:n]) != "DONE\r\n" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		if ok, err := c.WaitInput(); ok || err != nil {
			t.Errorf("woken during a read: %v, %v", ok, err)
		}
		c.SetIdleTimeout(time.Minute)
		if ok, err := c.WaitInput(); ok || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("silence: %v, %v", ok, err)
		}
		time.AfterFunc(time.Second, func() { c.drain(time.Now().Add(time.Hour)) })
		if ok, err := c.WaitInput(); ok || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("stop: %v, %v", ok, err)
		}
	})
}

// pipeListener accepts what is sent to it.
type pipeListener struct{ c chan net.Conn }

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.c
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { close(l.c); return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func TestWorkHasTheStopTimeoutAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 1)
		ended := make(chan time.Duration, 1)
		handle := func(ctx context.Context, c *Conn) error {
			c.Busy(true)
			select {
			case <-ctx.Done(): // a delivery
			case <-time.After(time.Hour):
			}
			_, err := c.Read(make([]byte, 1))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read after the end: %v", err)
			}
			_, err = c.Write([]byte("421 bye\r\n"))
			return err
		}
		s := &server{
			Options:  Options{StopTimeout: time.Minute, Signals: signals, Handle: handle, MaxConns: 9},
			draining: make(chan struct{}), conns: map[*Conn]bool{},
		}
		ctx, cancel := context.WithCancel(context.Background())
		s.cancel = cancel
		l := listener{pipeListener{make(chan net.Conn)}, "smtp"}
		go func() {
			start := time.Now()
			s.serve(ctx, context.Background(), []listener{l})
			ended <- time.Since(start)
		}()
		a, b := net.Pipe()
		l.Listener.(pipeListener).c <- a
		synctest.Wait()
		signals <- syscall.SIGTERM
		if said, err := io.ReadAll(b); string(said) != "421 bye\r\n" {
			t.Errorf("%q, %v", said, err)
		}
		if took := <-ended; took != time.Minute {
			t.Errorf("ended after %v, want 1m", took)
		}
	})
}
