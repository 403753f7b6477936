package imapsrv

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestAClientThatWaitsHearsHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &waitingConn{scriptConn: scriptConn{out: &bytes.Buffer{}}}
		s := &session{Server: &Server{}, c: c, ctx: t.Context(), tag: "a1"}
		slow := func(int) error { time.Sleep(progressEvery/2 + time.Second); return nil }
		err := s.eachOf(6, true, func() func(int) error { return slow })
		if err != nil {
			t.Fatal(err)
		}
		err = s.during(func() error { time.Sleep(progressEvery + 1); return nil })
		if err != nil {
			t.Fatal(err)
		}
		want := "* OK [INPROGRESS (\"a1\" 1 6)] still at it\r\n* OK [INPROGRESS (\"a1\" 3 6)] still at it\r\n* OK [INPROGRESS (\"a1\" 5 6)] still at it\r\n" +
			"* OK [INPROGRESS (\"a1\" NIL NIL)] still at it\r\n"
		if got := c.out.String(); got != want {
			t.Errorf("told\n%s, want\n%s", got, want)
		}
	})
}
