package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// A sink takes letters by SMTP and forgets them. It offers what hosts of today
// do but TLS and BDAT, which neither contender would use with it.
type sink struct {
	addrs []string
	taken atomic.Int64
}

// newSink listens on so many addresses of the loopback, 127.0.1.1 and on, all at
// one port, until the bench ends.
func (b *bench) newSink(addrs int) (*sink, error) {
	s := &sink{}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	for n := range addrs {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.1.%d:%s", n+1, port))
		if err != nil {
			return nil, err
		}
		b.atEnd(func() { l.Close() })
		s.addrs = append(s.addrs, l.Addr().String())
		go s.serve(l)
	}
	return s, nil
}

func (s *sink) serve(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		go s.session(nc)
	}
}

// sinkReplies are what it says to a command, by its first four letters.
var sinkReplies = map[string]string{
	"EHLO": "250-sink\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n",
	"DATA": "354 go on\r\n",
	"QUIT": "221 bye\r\n",
}

func (s *sink) session(nc net.Conn) {
	defer nc.Close()
	br, bw := bufio.NewReaderSize(nc, 16<<10), bufio.NewWriter(nc)
	bw.WriteString("220 sink ESMTP\r\n")
	for {
		if br.Buffered() == 0 && bw.Flush() != nil {
			return
		}
		line, err := br.ReadSlice('\n')
		if err != nil || len(line) < 4 {
			return
		}
		verb := string(bytes.ToUpper(line[:4]))
		reply, ok := sinkReplies[verb]
		if !ok {
			reply = "250 2.0.0 ok\r\n"
		}
		bw.WriteString(reply)
		if verb == "QUIT" {
			bw.Flush()
			return
		}
		if verb == "DATA" && (bw.Flush() != nil || s.letter(br, bw) != nil) {
			return
		}
	}
}

// letter reads up to the line of one dot.
func (s *sink) letter(br *bufio.Reader, bw *bufio.Writer) error {
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if string(line) == ".\r\n" {
			s.taken.Add(1)
			_, err := bw.WriteString("250 2.0.0 taken\r\n")
			return err
		}
	}
}

// await waits until so many letters have come.
func (s *sink) await(n int64) error {
	for end := time.Now().Add(patience); s.taken.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d letters came in %v", s.taken.Load(), n, patience)
		}
	}
	return nil
}
