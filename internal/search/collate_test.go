package search

import (
	"slices"
	"strings"
	"testing"
)

func TestCollateOrders(t *testing.T) {
	// By octets: an accent is behind all letters of ASCII, and a ligature is taken apart
	// when capitals have been made.
	want := []string{"", "Eben", "ef", "École", "e\u0301cole z", "éden", "Fisk", "zoo", "ﬁsch", "Ωmega", "你"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, func(a, b string) int { return strings.Compare(Collate(a), Collate(b)) })
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFoldMakesEqual(t *testing.T) {
	for _, same := range [][]string{
		{"Ärger", "äRGER", "A\u0308rger"}, {"ΟΔΟΣ", "οδος", "οδοσ"}, {"ﬁsch", "FISCH"}, {"\u01C4", "\u01C6", "DZ\u030C"}, {"a\xff", "A\xff"},
	} {
		for _, s := range same[1:] {
			if Fold(s) != Fold(same[0]) {
				t.Errorf("Fold(%q) = %q, of %q it is %q", s, Fold(s), same[0], Fold(same[0]))
			}
		}
	}
	if Fold("resume") == Fold("résumé") {
		t.Error("accents are lost")
	}
}
