package imapsrv

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestInflate compares it with the standard library, for all kinds of blocks.
func TestInflate(t *testing.T) {
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rand.IntN(256))
	}
	for name, text := range map[string][]byte{
		"nothing": {}, "noise": noise, "a long text": []byte(strings.Repeat("a NOOP\r\nb FETCH 1:* (FLAGS)\r\n", 5000)),
		"one octet": []byte("a"), "a run": bytes.Repeat([]byte{0}, 200_000),
	} {
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, 6, flate.BestCompression} {
			var in bytes.Buffer
			w, _ := flate.NewWriter(&in, level)
			for i, piece := 0, text; len(piece) > 0; i++ {
				n := min(len(piece), 30_000)
				w.Write(piece[:n])
				w.Flush()
				piece = piece[n:]
			}
			w.Close()
			got, err := io.ReadAll(newInflater(iotestHalf{&in}))
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s at level %d: %d octets, %v; want %d", name, level, len(got), err, len(text))
			}
		}
	}
}

// iotestHalf gives less than is asked for.
type iotestHalf struct{ r io.Reader }

func (h iotestHalf) Read(p []byte) (int, error) { return h.r.Read(p[:(len(p)+1)/2]) }

// TestAPartialFlushIsAnswered: zlib's Z_PARTIAL_FLUSH ends with an empty block of
// the fixed code, after which nothing may come for long.
func TestAPartialFlushIsAnswered(t *testing.T) {
	r, w := io.Pipe()
	f := newInflater(r)
	defer f.stop()
	// "a" in a block of the fixed code, then an empty one: 1 header bit, 2 of the
	// kind, 8 of "a", 7 of its end, 10 of the empty block.
	go w.Write(bitsOf("0 10 10010001 0000000 0 10 0000000"))
	got := make([]byte, 10)
	if n, err := f.Read(got); n != 1 || got[0] != 'a' || err != nil {
		t.Errorf("read %q, %v", got[:n], err)
	}
	w.Close()
}

// bitsOf packs bits as they come, zeros at the end.
func bitsOf(s string) []byte {
	var b []byte
	n := 0
	for _, c := range s {
		if c == ' ' {
			continue
		}
		if n%8 == 0 {
			b = append(b, 0)
		}
		b[n/8] |= byte(c-'0') << (n % 8)
		n++
	}
	return b
}

func TestCompress(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	f.talk(c, "login\nC a COMPRESS NONE\nS a BAD .*\nC b COMPRESS DEFLATE\nS b OK .*")
	w, _ := flate.NewWriter(c, flate.BestSpeed)
	r := bufio.NewReader(flate.NewReader(c))
	say := func(text string) {
		fmt.Fprintf(w, "%s\r\n", text)
		w.Flush()
	}
	say("c COMPRESS DEFLATE")
	f.expect(c, r, `c NO \[COMPRESSIONACTIVE\] .*`, false)
	say("d SELECT INBOX")
	f.expect(c, r, "d OK .*", true)
	say("e IDLE")
	f.expect(c, r, `\+ .*`, false)
	f.deliver("1.M1.h", "Subject: x\n\ny\n")
	f.expect(c, r, `\* 1 EXISTS`, false)
	say("DONE\r\nf FETCH 1 BODY[TEXT]")
	f.expect(c, r, "y", true)
	f.expect(c, r, "f OK .*", true)
	say("g UNAUTHENTICATE")
	f.expect(c, r, `\* BYE .*`, false)
	f.expect(c, r, "g BAD .*", false)
}

// What comes behind the octets of a flush, in a segment of its own, is no input: an
// idle client goes on hearing what happens.
func TestTheEndOfAFlushIsNoInput(t *testing.T) {
	f := newFixture(t)
	c := f.dial()
	f.talk(c, "login\nC b COMPRESS DEFLATE\nS b OK .*")
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestSpeed)
	r := bufio.NewReader(flate.NewReader(c))
	say := func(text, answer string) {
		t.Helper()
		fmt.Fprintf(w, "%s\r\n", text)
		w.Flush()
		b := out.Bytes() // ends in an empty stored block: its header, 00 00 FF FF
		c.Write(b[:len(b)-4])
		f.expect(c, r, answer, true)
		c.Write(b[len(b)-4:])
		out.Reset()
	}
	say("d SELECT INBOX", "d OK .*")
	say("e IDLE", `\+ .*`)
	f.deliver("1.M1.h", "Subject: x\n\ny\n")
	f.expect(c, r, `\* 1 EXISTS`, false)
	say("DONE", "e OK .*")
}

// A piecesConn gives one piece at each read. Whoever waits is told of input, and
// the wake that came with it is gone.
type piecesConn struct {
	Conn
	pieces [][]byte
	waits  int
}

func (c *piecesConn) Flush() error { return nil }

func (c *piecesConn) Read(p []byte) (int, error) {
	n := copy(p, c.pieces[0])
	c.pieces = c.pieces[1:]
	return n, nil
}

func (c *piecesConn) WaitInput() (bool, error) {
	c.waits++
	return true, nil
}

// A letter that comes at the same moment as the end of a flush is told.
func TestAWakeThatComesWithTheEndOfAFlushIsNotLost(t *testing.T) {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestSpeed)
	w.Write([]byte("e IDLE\r\n"))
	w.Flush()
	b := out.Bytes()
	conn := &piecesConn{pieces: [][]byte{b[:len(b)-4], b[len(b)-4:]}}
	c := &compressed{Conn: conn}
	c.in = newInflater(conn)
	defer c.in.stop()
	if _, err := io.ReadFull(c, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if input, err := c.WaitInput(); input || err != nil || conn.waits != 1 {
		t.Errorf("WaitInput = %v, %v after %d waits; want false after one", input, err, conn.waits)
	}
}

func FuzzInflate(f *testing.F) {
	f.Add(bitsOf("0 10 10010001 0000000 0 10 0000000"))
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	fmt.Fprint(w, strings.Repeat("abc abd ", 100))
	w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(in)), 1<<20))
		mine := newInflater(bytes.NewReader(in))
		defer mine.stop()
		got, err := io.ReadAll(io.LimitReader(mine, 1<<20))
		if wantErr == nil && (err != nil || !bytes.Equal(got, want)) {
			t.Errorf("%d octets, %v; want %d", len(got), err, len(want))
		}
	})
}
