package account

import (
	"errors"
	"slices"
	"testing"
)

// usesOf gives the special uses of a folder as List has them.
func (x *fixture) usesOf(name string) []string {
	x.t.Helper()
	list, err := x.tree.List(x.ctx)
	x.must(err)
	for _, f := range list {
		if f.Name == name {
			return f.SpecialUse
		}
	}
	x.t.Fatalf("there is no %s", name)
	return nil
}

func TestAFolderMadeForAUseHasItWhateverItsName(t *testing.T) {
	x := newFixture(t, "cur/", ".Sent/cur/")
	x.must(x.tree.Create(x.ctx, "Gesendet", `\SENT`, `\Archive`))
	if got := x.usesOf("Gesendet"); !slices.Equal(got, []string{`\Sent`, `\Archive`}) {
		t.Errorf("made for %q", got)
	}
	if got := x.usesOf("Sent"); got != nil {
		t.Errorf("another one has %q by its name", got)
	}
	for _, use := range []string{`\Sent`, `\All`, "Sent"} {
		if err := x.tree.Create(x.ctx, "X", use); !errors.Is(err, ErrBadUse) {
			t.Errorf("made for %s: %v", use, err)
		}
	}
	x.must(x.tree.Rename(x.ctx, "Gesendet", "Alt"))
	if got := x.usesOf("Alt"); !slices.Equal(got, []string{`\Sent`, `\Archive`}) {
		t.Errorf("renamed, it is for %q", got)
	}
	x.must(x.tree.Delete(x.ctx, "Alt"))
	if got := x.usesOf("Sent"); !slices.Equal(got, []string{`\Sent`}) {
		t.Errorf("the name counts again: %q", got)
	}
}

func TestAUseThatACrashHasLeftIsNotTheNextFolders(t *testing.T) {
	x := newFixture(t, "cur/", ".Work/new/", ".Work/postbag.use=\\Sent\n")
	x.must(x.tree.Create(x.ctx, "Work"))
	if got := x.usesOf("Work"); got != nil {
		t.Errorf("it is for %q", got)
	}
}
