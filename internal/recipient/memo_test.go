package recipient

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postbag/internal/address"
	"postbag/internal/auth"
)

// A countingSystem counts how often it is asked.
type countingSystem struct{ asked *int }

func (s countingSystem) Lookup(name string) (auth.Account, bool, error) {
	*s.asked++
	return auth.Account{Name: name, UID: 1000, GID: 1000, Home: "/nowhere/" + name}, name != "nobody", nil
}

func TestMemo(t *testing.T) {
	ann, bob := address.Address{Local: "ann", Domain: "here.example"}, address.Address{Local: "bob", Domain: "here.example"}
	nobody := address.Address{Local: "nobody", Domain: "here.example"}
	newExpander := func(asked *int) *Expander {
		return &Expander{Hostname: "here.example", Domains: []string{"here.example"}, System: countingSystem{asked}, Maildirs: auth.Template{Text: "%h/Maildir"}}
	}
	for name, c := range map[string]struct {
		ctx  func(context.Context) context.Context
		ask  func(resolve func(address.Address), reload func())
		want int
	}{
		"a session that asks again is answered at once": {WithMemo, func(resolve func(address.Address), reload func()) {
			resolve(ann)
			resolve(ann)
		}, 1},
		"another address is another question": {WithMemo, func(resolve func(address.Address), reload func()) {
			resolve(ann)
			resolve(bob)
			resolve(ann)
		}, 3},
		"an old answer does not count": {WithMemo, func(resolve func(address.Address), reload func()) {
			resolve(ann)
			time.Sleep(memoAge)
			resolve(ann)
		}, 2},
		"new settings are asked": {WithMemo, func(resolve func(address.Address), reload func()) {
			resolve(ann)
			reload()
			resolve(ann)
		}, 2},
		"a failure is asked for again": {WithMemo, func(resolve func(address.Address), reload func()) {
			resolve(nobody)
			resolve(nobody)
		}, 2},
		"without a session each question counts": {func(ctx context.Context) context.Context { return ctx }, func(resolve func(address.Address), reload func()) {
			resolve(ann)
			resolve(ann)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				e, ctx := newExpander(&asked), c.ctx(t.Context())
				resolve := func(a address.Address) {
					found, err := e.Resolve(ctx, address.Address{}, a)
					if known := a != nobody; known != (err == nil) || known && found[0].Dir != "/nowhere/"+a.Local+"/Maildir" {
						t.Errorf("%s leads to %v: %v", a, found, err)
					}
				}
				c.ask(resolve, func() { e = newExpander(&asked) })
				if asked != c.want {
					t.Errorf("accounts were asked %d times, want %d", asked, c.want)
				}
			})
		})
	}
}

func TestAMemoIsForOneSender(t *testing.T) {
	asked := 0
	e := &Expander{Hostname: "here.example", Domains: []string{"here.example"}, System: countingSystem{&asked}, Maildirs: auth.Template{Text: "%h/Maildir"}}
	ctx, ann := WithMemo(t.Context()), address.Address{Local: "ann", Domain: "here.example"}
	for _, from := range []address.Address{{}, ann, ann} {
		if _, err := e.Resolve(ctx, from, ann); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 2 {
		t.Errorf("accounts were asked %d times, want 2", asked)
	}
}
