package auth

import "testing"

func TestTemplate(t *testing.T) {
	ann := Account{Name: "ann", Home: "/home/ann"}
	for _, tt := range []struct {
		name, text string
		account    Account
		want       string // "" is an error
	}{
		{"the default", "%s/mail/%u", ann, "/spool/mail/ann"},
		{"a name with a domain", "/m/%d/%n", Account{Name: "ann@example.org"}, "/m/example.org/ann"},
		{"the home", "%h/Maildir", ann, "/home/ann/Maildir"},
		{"a home that is not known", "%h/Maildir", Account{Name: "bob"}, ""},
		{"what the users file says comes first", "/m/%u", Account{Name: "ann", Home: "/home/ann", Maildir: "~/mail"}, "/home/ann/mail"},
		{"a percent sign", "/m/%%/%u", ann, "/m/%/ann"},
		{"a name that leads out of its place", "/m/%u", Account{Name: "../etc"}, ""},
		{"a name that hides", "/m/%u", Account{Name: ".ann"}, ""},
		{"a variable that does not exist", "/m/%x", ann, ""},
		{"a path that is not absolute", "mail/%u", ann, ""},
		{"no domain is an empty part", "/m/%d/%n", ann, "/m/ann"},
	} {
		got, err := Template{Text: tt.text, Spool: "/spool"}.Dir(tt.account)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}
