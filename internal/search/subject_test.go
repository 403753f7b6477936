package search

import (
	"strings"
	"testing"
)

func TestBaseSubject(t *testing.T) {
	for in, want := range map[string]struct {
		base  string
		reply bool
	}{
		"hello":                         {"hello", false},
		"Re: hello":                     {"hello", true},
		"RE : Fwd: fw: hello":           {"hello", true},
		"Re[2]: hello":                  {"hello", true},
		"[list] Re: [list] hello":       {"hello", true},
		"[list] hello":                  {"hello", false},
		"[list]":                        {"[list]", false},
		"hello (fwd) (FWD)":             {"hello", true},
		"[Fwd: Re: hello]":              {"hello", true},
		"[fwd: [fwd: hello (fwd)]]":     {"hello", true},
		"Regarding: hello":              {"Regarding: hello", false},
		" a \t b\r\n c ":                {"a b c", false},
		"":                              {"", false},
		"Re:":                           {"", true},
		"[a [b] c":                      {"[a [b] c", false},
		"re: re: re: grüße":             {"grüße", true},
		strings.Repeat("[a", 1000):      {strings.Repeat("[a", 1000), false},
		strings.Repeat("re: ", 9) + "x": {"x", true},
	} {
		if base, reply := BaseSubject(in); base != want.base || reply != want.reply {
			t.Errorf("BaseSubject(%.40q) = %.40q, %v; want %.40q, %v", in, base, reply, want.base, want.reply)
		}
	}
}
