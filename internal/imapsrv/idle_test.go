package imapsrv

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postbag/internal/imapwire"
)

// A waitingConn has no input before end is closed.
type waitingConn struct {
	scriptConn
	end, wake chan struct{}
}

func (c *waitingConn) Wake() { c.wake <- struct{}{} }

func (c *waitingConn) WaitInput() (bool, error) {
	select {
	case <-c.wake:
		return false, nil
	case <-c.end:
		return true, nil
	}
}

func TestAnIdleClientHearsFromTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &waitingConn{scriptConn: scriptConn{out: &bytes.Buffer{}}, end: make(chan struct{}), wake: make(chan struct{}, 1)}
		s := &session{Server: &Server{}, c: c, ctx: t.Context()}
		s.in = imapwire.NewReader(io.MultiReader(strings.NewReader("\r\n"), strings.NewReader("DONE\r\n")))
		time.AfterFunc(5*idleNotice/2, func() { close(c.end) })
		if ok, err := s.doIdle(); err != nil {
			t.Fatal(ok, err)
		}
		if got, want := c.out.String(), "+ idling\r\n* OK still here\r\n* OK still here\r\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
