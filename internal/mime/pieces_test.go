package mime

import (
	"fmt"
	"testing"
)

func TestParamsOfBrokenValues(t *testing.T) {
	for _, c := range []struct{ what, value, want string }{
		{"a semicolon is missing", `text/plain charset=utf-8; format=flowed delsp=yes`, "text/plain charset:utf-8 format:flowed delsp:yes"},
		{"and after a quoted value", `x/y; name="a b" charset=utf-8`, "x/y name:a b charset:utf-8"},
		{"a file name with blanks", `x/y; name=my file.pdf; a=b`, "x/y name:my file.pdf a:b"},
		{"a blank and an unknown name", `x/y; name=my x=1.pdf`, "x/y name:my x=1.pdf"},
		{"a blank where none can be", `text/plain; charset=utf-8 x`, "text/plain charset:utf-8"},
		{"a quote without end", `x/y; charset="utf-8; format=flowed`, "x/y charset:utf-8 format:flowed"},
		{"the end of a quote is a quoted one", `x/y; name="a\"`, `x/y name:a\`},
		{"pieces", `x/y; title*1="y"; name=n; TITLE*0="x"`, "x/y name:n TITLE:xy"},
		{"pieces with a charset", `x/y; name*0*=utf-8''a%20; name*1="b c"; name*2*=%21`, "x/y name*:utf-8''a%20b%20c%21"},
		{"a gap", `x/y; name*0=a; name*2=c`, "x/y name:a name*2:c"},
		{"no first piece", `x/y; name*1=a`, "x/y name*1:a"},
		{"the same piece twice", `x/y; name*0=a; name*0=b; name*1=c`, "x/y name:ac name*0:b"},
		{"no piece", `x/y; name*=utf-8''a; *0=b; a*x=c`, "x/y name*:utf-8''a *0:b a*x:c"},
	} {
		value, params := parseValue(c.value)
		got := value
		for _, p := range params {
			got += fmt.Sprintf(" %s:%s", p.Name, p.Value)
		}
		if got != c.want {
			t.Errorf("%s: %q is\n%s, want\n%s", c.what, c.value, got, c.want)
		}
	}
}

func TestExtendedText(t *testing.T) {
	for value, want := range map[string]string{
		"utf-8'en'%e2%82%ac%20rates": "\u20ac rates", "iso-8859-1''%e9t%e9": "\u00e9t\u00e9", "''a+b": "a+b", "us-ascii''": "",
		"utf-8''%e9": "\u00e9", // as everywhere: what is no UTF-8 is taken for windows-1252
	} {
		if got, ok := ExtendedText(value); got != want || !ok {
			t.Errorf("ExtendedText(%q) = %q, %v, want %q", value, got, ok, want)
		}
	}
	for _, value := range []string{"plain", "utf-8'x", "utf-8''%e", "utf-8''%zz", "klingon''a", "utf-8''a%00", "utf-8''a%0d%0ab"} {
		if got, ok := ExtendedText(value); ok {
			t.Errorf("ExtendedText(%q) = %q", value, got)
		}
	}
}
