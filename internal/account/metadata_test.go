package account

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestMetadataStaysWhateverItsOctets(t *testing.T) {
	x := newFixture(t, "cur/")
	value, other := "a\r\n\x00\xff\"\\", ""
	x.must(x.tree.SetMetadata(x.ctx, "INBOX", map[string]*string{"/private/a b": &value, "/shared/empty": &other}))
	got, err := x.open().Metadata("inbox")
	x.must(err)
	if empty, there := got["/shared/empty"]; got["/private/a b"] != value || !there || empty != "" {
		t.Errorf("%q", got)
	}
}

func TestMetadataWithLinesOfOthers(t *testing.T) {
	x := newFixture(t, "cur/")
	os.WriteFile(filepath.Join(x.root, "postbag.metadata"), []byte("#\n\"/private/a\" \"1\"\n\"/private/b\"\n\"/private/c\" x\n"), 0o600)
	got, err := x.tree.Metadata("INBOX")
	x.must(err)
	if len(got) != 1 || got["/private/a"] != "1" {
		t.Errorf("%q", got)
	}
}

func TestMetadataOfNoFolder(t *testing.T) {
	x := newFixture(t, "cur/")
	if _, err := x.tree.Metadata("Nowhere"); !errors.Is(err, ErrNoFolder) {
		t.Error(err)
	}
	if err := x.tree.SetMetadata(x.ctx, "Nowhere", nil); !errors.Is(err, ErrNoFolder) {
		t.Error(err)
	}
}

func TestChangedMetadata(t *testing.T) {
	before := Metadata{"/private/a": "1", "/private/b": "", "/private/c": "3"}
	after := Metadata{"/private/a": "2", "/private/c": "3", "/private/d": ""}
	if got := before.Changed(after); !slices.Equal(got, []string{"/private/a", "/private/b", "/private/d"}) {
		t.Errorf("changed %q", got)
	}
	if got := before.Changed(before); got != nil {
		t.Errorf("changed %q", got)
	}
}

func TestMadeStaysWithARenamedFolderOnly(t *testing.T) {
	x := newFixture(t, "cur/")
	made := func(name string) Made {
		list, err := x.tree.List(x.ctx)
		x.must(err)
		i := slices.IndexFunc(list, func(f Folder) bool { return f.Name == name })
		return x.tree.Made(&list[i])
	}
	x.must(x.tree.Create(x.ctx, "A"))
	first := made("A")
	x.must(x.tree.Rename(x.ctx, "A", "B"))
	if made("B") != first || first == (Made{}) {
		t.Errorf("%v, after the rename %v", first, made("B"))
	}
	x.must(x.tree.Delete(x.ctx, "B"))
	x.must(x.tree.Create(x.ctx, "B"))
	if made("B") == first {
		t.Error("a new folder is taken for the old one")
	}
}

// The file is in the folder's directory, where nobody who follows the tree looks.
func TestWhoFollowsIsToldOfMetadata(t *testing.T) {
	x := newFixture(t, "cur/", ".A/cur/")
	told := make(chan struct{}, 1)
	defer x.tree.Follow(func() {
		select {
		case told <- struct{}{}:
		default:
		}
	})()
	value := "x"
	x.must(x.open().SetMetadata(x.ctx, "A", map[string]*string{"/private/a": &value}))
	select {
	case <-told:
	case <-time.After(time.Minute):
		t.Error("nobody is told")
	}
}

func TestMetadataOfAFolderRaisesItsModSeq(t *testing.T) {
	x := newFixture(t, "cur/", ".A/cur/")
	highest := func() uint64 {
		f, err := x.tree.Open(x.ctx, "A")
		x.must(err)
		defer f.Close()
		x.must(f.Sync(x.ctx))
		return f.View().HighestModSeq()
	}
	before, value := highest(), "x"
	x.must(x.tree.SetMetadata(x.ctx, "A", map[string]*string{"/private/a": &value}))
	if after := highest(); after <= before {
		t.Errorf("modseq %d, before %d", after, before)
	}
	before = highest()
	if err := x.tree.SetMetadata(x.ctx, "A", map[string]*string{SpecialUse: &value}); !errors.Is(err, ErrBadUse) {
		t.Error(err)
	}
	x.must(x.tree.SetMetadata(x.ctx, "", map[string]*string{"/private/a": &value}))
	if after := highest(); after != before {
		t.Errorf("modseq %d after nothing was changed, before %d", after, before)
	}
}
