package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailbox"
	"postbag/internal/maildir"
	"postbag/internal/mailtest"
)

// A faultCase is one change of the tree. before and after are what summary says.
type faultCase struct {
	name          string
	run           func(ctx context.Context, t *Tree) error
	before, after string
	twice         bool // after a fault letters may be in both places
}

const summaryBefore = "INBOX=one,two A=three A/B=four; A"

var faultCases = []faultCase{
	{"open", func(context.Context, *Tree) error { return nil }, summaryBefore, summaryBefore, false},
	{"create", func(ctx context.Context, t *Tree) error { return t.Create(ctx, "C/D", `\Sent`) },
		summaryBefore, `INBOX=one,two A=three A/B=four C/D=\Sent; A`, false},
	{"delete", func(ctx context.Context, t *Tree) error { return t.Delete(ctx, "A") },
		summaryBefore, "INBOX=one,two A/B=four; A", false},
	{"rename with a folder below", func(ctx context.Context, t *Tree) error { return t.Rename(ctx, "A", "C") },
		summaryBefore, "INBOX=one,two C=three C/B=four; A", false},
	{"rename of INBOX", func(ctx context.Context, t *Tree) error { return t.Rename(ctx, "INBOX", "C") },
		summaryBefore, "INBOX= A=three A/B=four C=one,two; A", true},
	{"subscribe", func(ctx context.Context, t *Tree) error { return t.Subscribe(ctx, "X") },
		summaryBefore, "INBOX=one,two A=three A/B=four; A X", false},
	{"unsubscribe", func(ctx context.Context, t *Tree) error { return t.Unsubscribe(ctx, "A") },
		summaryBefore, "INBOX=one,two A=three A/B=four;", false},
}

// Each change of the tree is made or not made, whatever fails, and no letter is
// lost with it.
func TestEachFaultAtEachStepOfAChange(t *testing.T) {
	for _, c := range faultCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mailtest.Faults(t, mailtest.FaultScenario{
				Setup: func(fs *durable.FS, root string) {
					if err := accountWithMail(t.Context(), fs, root); err != nil {
						t.Fatal(err)
					}
				},
				Run: func(fs *durable.FS, root string) error {
					return withTree(t.Context(), fs, root, func(tree *Tree) error { return c.run(t.Context(), tree) })
				},
				Check: func(root string, err error) error { return c.check(t.Context(), root, err) },
			})
		})
	}
}

func withTree(ctx context.Context, fs *durable.FS, root string, do func(*Tree) error) error {
	s := mailbox.NewStore(fs, mailbox.Options{NoWatch: true})
	defer s.Close()
	tree, err := Open(ctx, s, root, Options{})
	if err != nil {
		return err
	}
	return do(tree)
}

// accountWithMail makes an account with four letters in three folders.
func accountWithMail(ctx context.Context, fs *durable.FS, root string) error {
	return withTree(ctx, fs, root, func(tree *Tree) error {
		err := errors.Join(tree.Create(ctx, "A"), tree.Create(ctx, "A/B"), tree.Subscribe(ctx, "A"))
		for _, l := range []struct{ dir, text string }{{"", "one"}, {"", "two"}, {".A", "three"}, {".A.B", "four"}} {
			name := filepath.Join(root, l.dir)
			if err == nil {
				_, err = maildir.Deliver(fs, name, "h", time.Now(), strings.NewReader(l.text+"\n"))
			}
		}
		return err
	})
}

func (c *faultCase) check(ctx context.Context, root string, err error) error {
	return withTree(ctx, durable.New(), root, func(tree *Tree) error {
		got, serr := summary(ctx, tree)
		switch {
		case serr != nil:
			return serr
		case err == nil && got != c.after:
			return fmt.Errorf("done, and there is %s", got)
		case c.twice:
			return missing(got, "one", "two", "three", "four")
		case got != c.before && got != c.after:
			return fmt.Errorf("neither done nor undone: %s", got)
		}
		return nil
	})
}

// summary says which letters each folder has, what it is for, and what is
// subscribed to.
func summary(ctx context.Context, tree *Tree) (string, error) {
	list, err := tree.List(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range list {
		if !f.Exists {
			continue
		}
		texts, err := textsOf(ctx, tree, f.Name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s=%s ", f.Name, strings.Join(append(texts, f.SpecialUse...), ","))
	}
	names, err := tree.Subscribed()
	return strings.TrimSpace(strings.TrimSpace(b.String()) + "; " + strings.Join(names, " ")), err
}

func textsOf(ctx context.Context, tree *Tree, name string) (texts []string, err error) {
	f, err := tree.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := errors.Join(f.Sync(ctx), f.PayDebts(ctx)); err != nil {
		return nil, err
	}
	v := f.View()
	for i := range v.Len() {
		c, err := f.Content(ctx, v.At(i))
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil {
			return nil, err
		}
		texts = append(texts, strings.TrimSpace(string(b)))
	}
	return texts, nil
}

func missing(summary string, texts ...string) error {
	for _, text := range texts {
		if !strings.Contains(summary, text) {
			return fmt.Errorf("%s is missing: %s", text, summary)
		}
	}
	return nil
}
