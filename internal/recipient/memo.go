package recipient

import (
	"context"
	"time"

	"postbag/internal/address"
)

// memoAge bounds how old an answer may be that is given again.
const memoAge = time.Second

// A memo is the last answer that Resolve has given to one session.
type memo struct {
	by          *Expander
	from, asked address.Address
	at          time.Time
	found       []Destination
}

type memoKey struct{}

// WithMemo gives a context for one session, which is one goroutine: who asks with
// it at RCPT and again when the letter begins is answered once. Nobody else asks
// so often that it would matter.
func WithMemo(ctx context.Context) context.Context {
	return context.WithValue(ctx, memoKey{}, &memo{})
}

// Resolve gives all destinations of an address for mail from somebody. An unknown
// user is a permanent error.
func (e *Expander) Resolve(ctx context.Context, from, a address.Address) ([]Destination, error) {
	m, _ := ctx.Value(memoKey{}).(*memo)
	if m == nil {
		return e.expand(ctx, from, a)
	}
	if m.by == e && m.from == from && m.asked == a && time.Since(m.at) < memoAge {
		return m.found, nil
	}
	found, err := e.expand(ctx, from, a)
	*m = memo{}
	if err == nil {
		*m = memo{by: e, from: from, asked: a, at: time.Now(), found: found}
	}
	return found, err
}
