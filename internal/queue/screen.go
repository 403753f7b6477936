package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"

	"postbag/internal/message"
	"postbag/internal/spool"
	"postbag/internal/status"
	"postbag/internal/trust"
)

// A Screen takes in letters of strangers, and has each judged before it is taken:
// the Authentication-Results that it gets stand before all that it came with. So
// it is kept whole until then: in memory, or when it is large in a file without
// a name. Intake and Judge must be set.
type Screen struct {
	Intake  *Intake
	Judge   *trust.Judge
	Enforce bool // do what the author's domain wants done with what is not from there
}

// maxHeld is how much of a letter is kept in memory while it comes in.
const maxHeld = 64 << 10

// A Held is one letter that comes in. It is for one goroutine; exactly one of
// Commit and Discard is called.
type Held struct {
	*Screen
	env  *spool.Envelope
	text []byte   // all of it, or its beginning with the header
	file *os.File // what follows text; nil: nothing
	rest int64    // octets in file
}

// Begin starts a letter and sets env.ID.
func (s *Screen) Begin(ctx context.Context, env *spool.Envelope) (*Held, error) {
	if env.ID == "" {
		env.ID = s.Intake.Spool.NewID()
	}
	return &Held{Screen: s, env: env}, ctx.Err()
}

// Write takes the next octets, in disk form. The first have the whole header.
func (h *Held) Write(p []byte) (int, error) {
	if h.file == nil && len(h.text) > 0 && len(h.text)+len(p) > maxHeld {
		f, err := os.CreateTemp(h.Intake.Spool.Path("queue", "tmp"), "held")
		if err != nil {
			return 0, err
		}
		os.Remove(f.Name()) // nobody else shall see it, and it goes when we do
		h.file = f
	}
	if h.file == nil {
		h.text = append(h.text, p...)
		return len(p), nil
	}
	n, err := h.file.Write(p)
	h.rest += int64(n)
	return n, err
}

// open reads the letter from its beginning.
func (h *Held) open() (io.ReadCloser, error) {
	readers := []io.Reader{bytes.NewReader(h.text)}
	if h.file != nil {
		readers = append(readers, io.NewSectionReader(h.file, 0, h.rest))
	}
	return io.NopCloser(io.MultiReader(readers...)), nil
}

// Commit judges the letter and makes it durable, or refuses it.
func (h *Held) Commit(ctx context.Context) (perRecipient []error, err error) {
	defer h.Discard()
	header, body := message.Parse(h.text)
	ip, _ := netip.ParseAddr(h.env.ClientIP)
	v, err := h.Judge.Judge(ctx, trust.Stranger{IP: ip, HELO: h.env.HELO, From: h.env.From, Header: header, Open: h.open})
	if err != nil {
		return nil, err
	}
	if h.Enforce && v.Disposition == trust.Reject {
		return nil, &status.Error{Op: "judge " + string(h.env.ID), Class: status.Permanent, Code: "5.7.1", Reply: 550, Text: v.String(), Err: errForged}
	}
	h.env.Junk = h.Enforce && v.Disposition == trust.Quarantine
	h.Judge.RemoveForged(header)
	header.Prepend(v.Field)
	return h.pass(ctx, header, body)
}

var errForged = errors.New("refused by the DMARC policy of the author's domain")

// pass gives the letter to the Intake.
func (h *Held) pass(ctx context.Context, header *message.Header, body []byte) ([]error, error) {
	t, err := h.Intake.Begin(ctx, h.env)
	if err != nil {
		return nil, err
	}
	_, err = t.Write(append(header.Bytes(), body...))
	if err == nil && h.file != nil {
		_, err = io.Copy(t, io.NewSectionReader(h.file, 0, h.rest))
	}
	if err != nil {
		t.Discard()
		return nil, err
	}
	return t.Commit(ctx)
}

// Discard forgets the letter.
func (h *Held) Discard() {
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
	h.text = nil
}
