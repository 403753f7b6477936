package search

import (
	"strings"
	"testing"
)

// foldedContains is what Contains is to find, in the plainest way.
func foldedContains(text, folded string) bool { return strings.Contains(Fold(text), folded) }

func TestContainsFoldsAsTheWholeTextWouldBe(t *testing.T) {
	hay := strings.Repeat("so many words and not the one ", 100)
	tests := []struct{ name, text, folded string }{
		{"nothing is everywhere", "", ""},
		{"a word in capitals", "The ZEBRAFISH swims", "zebrafish"},
		{"at the beginning", "Zebra", "zebra"},
		{"at the end", hay + "zebrA", "zebra"},
		{"longer than the text", "zebr", "zebra"},
		{"only its beginning is there", hay + "zebr", "zebra"},
		{"no letters", "a = b", " = "},
		{"octets between the cases of letters are no letters", "[\\]^_`{|}", "{|}"},
		{"an at sign is no capital", "@", "`"},
		{"a capital is in no folded text", "ABC", "B"},
		{"other letters than those of ASCII", "STRASSE ÄRGER", "ärger"},
		{"ASCII has no others", "arger", "ärger"},
		{"the Kelvin sign folds to a k", "300 \u212A", "300 k"},
		{"a capital I with a dot", "\u0130stanbul", "i\u0307stanbul"},
		{"octets that are no UTF-8", "a\xffB", "b"},
		{"a probe that is everywhere", strings.Repeat("ab", 3000) + "aac", "aac"},
		{"a probe that is everywhere, in vain", strings.Repeat("ab", 3000), "aac"},
		{"both cases of the probe", strings.Repeat("xY", 300) + "xz", "xz"},
	}
	for _, tt := range tests {
		want := foldedContains(tt.text, tt.folded)
		if got := Contains([]byte(tt.text), tt.folded); got != want {
			t.Errorf("%s: Contains(%.20q, %q) = %v, want %v", tt.name, tt.text, tt.folded, got, want)
		}
	}
}

func FuzzContains(f *testing.F) {
	f.Add("Some ZEBRA text", "zebra")
	f.Add("\u212A", "k")
	f.Fuzz(func(t *testing.T, text, needle string) {
		folded := Fold(needle)
		if got, want := Contains([]byte(text), folded), foldedContains(text, folded); got != want {
			t.Errorf("Contains(%q, %q) = %v, want %v", text, folded, got, want)
		}
	})
}
