package main

import (
	"io"
	"net"
	"testing"
)

func TestPOPRepliesAreCountedHoweverTheyCome(t *testing.T) {
	for _, c := range []struct {
		name    string
		replies int
		pieces  []string
		want    bool
	}{
		{"one in one piece", 1, []string{"+OK\r\na\r\n.\r\n"}, true},
		{"its end in two pieces", 1, []string{"+OK\r\na\r", "\n.\r\n"}, true},
		{"octet by octet", 1, []string{"+", "O", "K", "\r", "\n", ".", "\r", "\n"}, true},
		{"two in three pieces", 2, []string{"+OK\r\na\r\n.\r\n+O", "K\r\n\r\n", ".\r\n"}, true},
		{"one too few", 2, []string{"+OK\r\na\r\n.\r\n", "+OK\r\n.\r"}, false},
		{"refused", 1, []string{"-ERR no\r\n"}, false},
	} {
		server, client := net.Pipe()
		go func() {
			for _, p := range c.pieces {
				io.WriteString(server, p)
			}
			server.Close()
		}()
		p := &popClient{nc: client, in: make([]byte, 64)}
		if err := p.await(c.replies, textEnd); (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
