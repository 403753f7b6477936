package alias

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/address"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// look is Lookup without waiting for lookEvery.
func look(f *File, name string) string {
	f.fresh()
	targets, ok, err := f.Lookup(name)
	if err != nil {
		return "error"
	}
	if !ok {
		return "none"
	}
	var all []string
	for _, t := range targets {
		all = append(all, fmt.Sprint(t.Kind, " ", t.Address.String(), t.Text))
	}
	return strings.Join(all, "; ")
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "aliases")
	write(t, filepath.Join(dir, "list"), "# members\nann@a.example,\nbob\n")
	write(t, filepath.Join(dir, "bad"), "|/bin/true\n")
	write(t, filepath.Join(dir, "nested"), "carl\n:include:"+dir+"/list\n")
	write(t, filepath.Join(dir, "circle"), ":include:"+dir+"/circle\n")
	write(t, path, `# a comment
Root: ann, bob@b.example
  # a comment does not end a line
	, "Carl C." <carl@c.example>
"two words": ann
cmd: "|/bin/cat -u, \"x\"", /var/mail/x
list: :include:`+dir+`/list
lists: :include:`+dir+`/nested
circle: :include:`+dir+`/circle
bad: ":include:`+dir+`/bad"
missing: :include:`+dir+`/none
empty:
final: \ann
quoted: "a b"@c.example
root: eve
`)
	f := Open(path)
	for name, want := range map[string]string{
		"root":      "0 ann; 0 bob@b.example; 0 carl@c.example",
		"ROOT":      "0 ann; 0 bob@b.example; 0 carl@c.example",
		"two words": "0 ann",
		"cmd":       `1 /bin/cat -u, "x"; 2 /var/mail/x`,
		"list":      "0 ann@a.example; 0 bob",
		"lists":     "0 carl; 0 ann@a.example; 0 bob",
		"circle":    "error",
		"bad":       "error",
		"missing":   "error",
		"empty":     "",
		"final":     "0 ann",
		"quoted":    `0 "a b"@c.example`,
		"nobody":    "none",
	} {
		if got := look(f, name); got != want {
			t.Errorf("Lookup(%s) = %s, want %s", name, got, want)
		}
	}
	if err := f.Check(); err == nil || err.Error() != path+":15: alias root is there twice" {
		t.Errorf("Check: %v", err)
	}
	if targets, _, _ := f.Lookup("final"); !targets[0].Final {
		t.Error("a backslash is not seen")
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"a: b\n\nc\n":            "f:3: colon is missing",
		": b\n":                  "f:1: name is missing",
		`a: "b` + "\n":           "f:1: quote without end",
		`"a: b` + "\n":           "f:1: quote without end",
		"a: b c\n":               `f:1: target "b c" is no address`,
		"a@b.c: d\n":             "f:1: alias a@b.c has a domain: names of this host have none",
		"a: :include:relative\n": "f:1: :include:relative: the path begins with /",
	} {
		if _, err := parse("f", text); err == nil || err.Error() != want {
			t.Errorf("parse(%q): %v, want %s", text, err, want)
		}
	}
}

func TestAFileThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aliases")
	f := Open(path)
	steps := []struct{ name, text, want string }{
		{"a file that was never there has no aliases", "", "none"},
		{"it is read when it appears", "a: b\n", "0 b"},
		{"and again when it changes", "a: carl\n", "0 carl"},
		{"a broken one leaves the aliases as they were", "a carl eve\n", "0 carl"},
		{"until it is mended", "a: dave\n", "0 dave"},
		{"one that has gone keeps mail waiting", "", "error"},
		{"until it is back", "a: dave\n", "0 dave"},
	}
	for _, s := range steps {
		if os.Remove(path); s.text != "" {
			write(t, path, s.text)
		}
		if got := look(f, "a"); got != s.want {
			t.Errorf("%s: %s, want %s", s.name, got, s.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a: b, \"c d\"@e.f\n\t, |x\n# c\n\"g\": \\h\n")
	f.Fuzz(func(t *testing.T, s string) {
		t0, err := parse("f", s)
		if err != nil {
			return
		}
		for name, raw := range t0.entries {
			if name == "" {
				t.Error("an alias without name")
			}
			for _, r := range raw {
				if _, err := parseTarget(r); err != nil {
					t.Errorf("target %q was taken: %v", r, err)
				}
			}
		}
	})
}

func TestVirtual(t *testing.T) {
	path := filepath.Join(t.TempDir(), "virtual")
	write(t, path, "# ours\nshop.example anything\ninfo@shop.example ann, bob@far.example\nInfo+eu@Shop.example eve\n@shop.example carl\n"+
		"@old.example @new.example\ncopy@here.example copy@here.example,\n  archive@here.example\nbücher.example x\n")
	v := OpenVirtual(path)
	for in, want := range map[string]string{
		"info@shop.example":    "ann bob@far.example",
		"INFO@SHOP.example":    "ann bob@far.example",
		"info+x@shop.example":  "ann bob@far.example",
		"info+eu@shop.example": "eve",
		"other@shop.example":   "carl",
		"x+y@old.example":      "x+y@new.example",
		"copy@here.example":    "copy@here.example archive@here.example",
		"x@here.example":       "none",
	} {
		a, _ := address.Parse(in)
		targets, ok, err := v.Lookup(a, "+")
		var all []string
		for _, t := range targets {
			all = append(all, t.String())
		}
		if !ok {
			all = []string{"none"}
		}
		if got := strings.Join(all, " "); got != want || err != nil {
			t.Errorf("Lookup(%s) = %s, %v; want %s", in, got, err, want)
		}
	}
	for domain, want := range map[string]bool{"SHOP.example": true, "xn--bcher-kva.example": true, "old.example": false, "here.example": false} {
		if v.Domain(domain) != want {
			t.Errorf("Domain(%s) = %v", domain, !want)
		}
	}
	for text, want := range map[string]string{
		"a@b.c\n":            "f:1: is not ADDRESS TARGETS",
		"a@b.c x\nA@b.c y\n": "f:2: address A@b.c is there twice",
		"@b..c x\n":          `f:1: address "@b..c": domain "b..c": bad address syntax`,
		"a@b.c |cmd\n":       `f:1: target "|cmd" is no address`,
		"a@b.c ,\n":          "f:1: targets are missing",
	} {
		if _, err := parseVirtual("f", text); err == nil || err.Error() != want {
			t.Errorf("parse(%q): %v, want %s", text, err, want)
		}
	}
}

func FuzzVirtual(f *testing.F) {
	f.Add("a@b.c d, @e.f\n@g.h i\nj.k l\n", "a@b.c")
	f.Fuzz(func(t *testing.T, text, name string) {
		table, err := parseVirtual("f", text)
		if err != nil {
			return
		}
		for key, targets := range table.addresses {
			if key == "" || len(targets) == 0 {
				t.Errorf("%q leads to %v", key, targets)
			}
		}
	})
}

func TestSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "set")
	write(t, path, "# who there is\nann@hub.example OK\n  @all.example\tx\n\n")
	s := OpenSet(path)
	for in, want := range map[string]bool{
		"Ann@Hub.example": true, "ann+x@hub.example": true, "x@all.example": true, "bob@hub.example": false, "x@b.all.example": false,
	} {
		a, _ := address.Parse(in)
		if got, err := s.Has(a, "+"); got != want || err != nil {
			t.Errorf("Has(%s) = %v, %v", in, got, err)
		}
	}
	if _, err := parseSet("f", "a@b.c\nx\n"); err == nil || !strings.HasPrefix(err.Error(), `f:2: "x": `) {
		t.Error(err)
	}
}
