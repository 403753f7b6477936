package netserve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A hall is a server with so many clients that the last of them wait in the lobby.
type hall struct {
	*testServer
	clients []*client
	living  atomic.Int32 // sessions
}

// empty waits until no session is left.
func (h *hall) empty(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); h.living.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d sessions do not end", h.living.Load())
		}
	}
}

// full gives a hall with waiting clients beyond those that have a goroutine.
func full(t *testing.T, waiting int, idle time.Duration) *hall {
	t.Helper()
	h := &hall{}
	h.testServer = launch(t, Options{Begin: func(ctx context.Context, c *Conn) func() error {
		h.living.Add(1)
		c.SetIdleTimeout(idle)
		fmt.Fprint(c, "hello\r\n")
		return func() error {
			defer h.living.Add(-1)
			return echo(c)
		}
	}})
	for range crowded + waiting {
		c := dial(t, "tcp", h.addr)
		c.hears("hello")
		h.clients = append(h.clients, c)
	}
	return h
}

// echo repeats lines, and says bye where greet does.
func echo(c *Conn) error {
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, os.ErrDeadlineExceeded) {
			fmt.Fprint(c, "bye\r\n")
			return nil
		}
		if err != nil || strings.TrimSpace(line) == "quit" {
			return nil
		}
		fmt.Fprint(c, line)
	}
}

func TestClientsWhoHaveNotSpokenWaitWithoutAGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	h := full(t, 300, time.Hour)
	if n := runtime.NumGoroutine() - before; n > crowded+100 {
		t.Errorf("%d goroutines for %d clients", n, len(h.clients))
	}
	for i, c := range h.clients {
		c.say(fmt.Sprint("line ", i))
	}
	for i, c := range h.clients {
		c.hears(fmt.Sprint("line ", i)) // none waits for another
	}
	for i, c := range h.clients {
		if i%2 == 0 {
			c.say("quit")
			c.hears("")
		} else {
			c.Close()
		}
	}
	h.empty(t)
	// Their descriptors are free, and nothing is left of those who had them.
	c := dial(t, "tcp", h.addr)
	c.hears("hello")
	c.say("still here")
	c.hears("still here")
}

func TestWhoLeavesTheLobbyWithoutAWordIsForgotten(t *testing.T) {
	h := full(t, 100, time.Hour)
	for _, c := range h.clients {
		c.Close()
	}
	h.empty(t)
}

func TestWhoIsSilentTooLongInTheLobbyIsToldSo(t *testing.T) {
	h := full(t, 100, 100*time.Millisecond)
	for _, c := range h.clients {
		c.hears("bye")
		c.hears("")
	}
	h.empty(t)
}

func TestAStopCallsAllFromTheLobby(t *testing.T) {
	h := full(t, 100, time.Hour)
	h.signals <- syscall.SIGTERM
	for _, c := range h.clients {
		c.hears("bye")
		c.hears("")
	}
	h.end(t)
}
