package recipient

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/address"
	"postbag/internal/alias"
	"postbag/internal/auth"
	"postbag/internal/route"
	"postbag/internal/srs"
	"postbag/internal/status"
)

const testPasswd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\nwww:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"

const testAliases = `team: ann, bob, ann@here.example
far: carl@far.example
one: two
two: one
bob: bob, carl@far.example
raw: \bob
cmd: |/bin/true
cmds: "|/bin/true", |/bin/true, ann
box: /var/box/
null: /dev/null
file: /var/mail/x
completed: dave
gone: eve@here.example
partly: eve@here.example, ann, nested, no@here.example
nested: eva@here.example, eve@here.example
nobody: eva@here.example, nested
news: ann, carl@far.example, inner
owner-news: bob
inner: dave@far.example
owner-inner: ann
`

const testVirtual = `shop.example x
info@shop.example ann@here.example, x@far.example
all.example x
@all.example bob
ann+copy@here.example ann+copy@here.example, archive@far.example
circle.example x
a@circle.example b@circle.example
b@circle.example a@circle.example
`

func testExpander(t *testing.T) *Expander {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"passwd": testPasswd, "aliases": testAliases, "virtual": testVirtual} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	table, err := route.Parse("routes", "* smtp://hub.example\n.far.example mx:\nno@here.example error:gone away\n")
	if err != nil {
		t.Fatal(err)
	}
	return &Expander{
		Hostname: "host.here.example", Origin: "corp.example", Domains: []string{"here.example"}, Delimiter: "+",
		System: auth.HostAccounts{Path: filepath.Join(dir, "passwd")}, Aliases: alias.Open(filepath.Join(dir, "aliases")),
		Virtual: alias.OpenVirtual(filepath.Join(dir, "virtual")),
		Routes:  table, Maildirs: auth.Template{Text: "%h/Maildir", Spool: "/spool"},
	}
}

// where gives destinations or the error, in short.
func where(e *Expander, s string) string {
	a, err := address.ParseUnqualified(s)
	if err != nil {
		return err.Error()
	}
	found, err := e.Resolve(context.Background(), address.Address{}, a)
	if err != nil {
		return status.Code(err)
	}
	var all []string
	for _, d := range found {
		if d.Local() {
			all = append(all, d.Dir)
		} else {
			all = append(all, d.Address.String()+" "+string(d.Route.Kind))
		}
	}
	return strings.Join(all, ", ")
}

func TestResolve(t *testing.T) {
	e := testExpander(t)
	for _, tt := range []struct{ name, to, want string }{
		{"an account", "ann@here.example", "/spool/mail/ann"},
		{"neither part has case", "ANN@Here.Example", "/spool/mail/ann"},
		{"a name without domain", "ann", "/spool/mail/ann"},
		{"a literal of this host", "ann@[127.0.0.1]", "/spool/mail/ann"},
		{"a subaddress goes to its user", "ann+lists@here.example", "/spool/mail/ann"},
		{"an empty subaddress too", "ann+@here.example", "/spool/mail/ann"},
		{"one copy though an alias names it twice", "team@here.example", "/spool/mail/ann, /spool/mail/bob, carl@far.example smtp"},
		{"an alias to another host takes the route of all", "far@here.example", "carl@far.example smtp"},
		{"an alias keeps the account of its own name", "bob@here.example", "/spool/mail/bob, carl@far.example smtp"},
		{"the same with a subaddress", "bob+x@here.example", "/spool/mail/bob, carl@far.example smtp"},
		{"a backslash means the account", "raw@here.example", "/spool/mail/bob"},
		{"a loop is a failure for good", "one@here.example", "5.4.6"},
		{"a command", "cmd@here.example", "cmd@here.example pipe"},
		{"a command that is named twice runs once", "cmds@here.example", "cmds@here.example pipe, /spool/mail/ann"},
		{"a Maildir", "box@here.example", "/var/box"},
		{"nothing", "null", "null@host.here.example discard"},
		{"a mailbox file", "file@here.example", "file@here.example mbox"},
		{"a virtual address", "info@shop.example", "/spool/mail/ann, x@far.example smtp"},
		{"one of a virtual domain that is not there", "nobody@shop.example", "5.1.1"},
		{"not even an account", "ann@shop.example", "5.1.1"},
		{"postmaster is everywhere", "postmaster@shop.example", "/spool/mail/root"},
		{"a catch-all", "whoever@all.example", "/spool/mail/bob, carl@far.example smtp"},
		{"an address that keeps its mailbox", "ann+copy@here.example", "/spool/mail/ann, archive@far.example smtp"},
		{"virtual addresses in a circle", "a@circle.example", "5.4.6"},
		{"a target without domain is completed", "completed@here.example", "dave@corp.example smtp"},
		{"what a stranger writes is not", "dave", "5.1.1"},
		{"an alias to nowhere", "gone@here.example", "5.1.1"},
		{"a list some of whose members are gone", "partly@here.example", "eve@here.example error, /spool/mail/ann, eva@here.example error, no@here.example error"},
		{"a list all of whose members are gone", "nobody@here.example", "5.1.1"},
		{"an unknown user", "eve@here.example", "5.1.1"},
		{"an account of the system is no person", "www@here.example", "5.1.1"},
		{"postmaster means root", "Postmaster", "/spool/mail/root"},
		{"abuse means root", "abuse@here.example", "/spool/mail/root"},
		{"a route refuses", "no@here.example", "5.1.1"},
		{"a route for what is below a domain", "x@a.far.example", "x@a.far.example mx"},
		{"all else", "x@y.example", "x@y.example smtp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := where(e, tt.to); got != tt.want {
				t.Errorf("Resolve(%s) = %s, want %s", tt.to, got, tt.want)
			}
		})
	}
}

// senders gives remote destinations with the reverse-path of their list and the
// domain that sends on.
func senders(e *Expander, to string) string {
	a, _ := address.ParseUnqualified(to)
	found, err := e.Resolve(context.Background(), address.Address{}, a)
	if err != nil {
		return status.Code(err)
	}
	var all []string
	for _, d := range found {
		all = append(all, fmt.Sprintf("%s <%s> %s", d.Address, d.Sender, d.Forwarded))
	}
	return strings.Join(all, ", ")
}

func TestWhoSendsOn(t *testing.T) {
	e := testExpander(t)
	e.SRS = &srs.Rewriter{Keys: [][]byte{[]byte("key")}}
	made := e.SRS.Forward(address.Address{Local: "x", Domain: "sender.example"}, "here.example")
	forged := strings.Replace(made.String(), "=x@", "=y@", 1)
	for to, want := range map[string]string{
		"news@here.example": "ann@here.example <owner-news@here.example> , carl@far.example <owner-news@here.example> here.example, " +
			"dave@far.example <owner-inner@here.example> here.example",
		"owner-news@here.example": "bob@here.example <> , carl@far.example <> here.example",
		"far@here.example":        "carl@far.example <> here.example",
		"archive@far.example":     "archive@far.example <> ",
		"info@shop.example":       "ann@here.example <> , x@far.example <> shop.example",
		"postmaster":              "root@here.example <> ",
		made.String():             "x@sender.example <> here.example",
		forged:                    "5.1.1",
	} {
		if got := senders(e, to); got != want {
			t.Errorf("%s: %s, want %s", to, got, want)
		}
	}
	if err := e.Check(t.Context(), address.Address{Local: "x", Domain: "y.example"}, made); status.Code(err) != "5.7.1" {
		t.Errorf("no bounce, and taken: %v", err)
	}
	if err := e.Check(t.Context(), address.Address{}, made); err != nil {
		t.Errorf("a bounce is refused: %v", err)
	}
}

func TestFilesThatCannotBeReadKeepMailWaiting(t *testing.T) {
	e := testExpander(t)
	e.System = auth.HostAccounts{Path: t.TempDir()} // a directory
	if got := where(e, "ann@here.example"); got != "4.3.0" {
		t.Errorf("accounts that cannot be read: %s", got)
	}
	e = testExpander(t)
	e.Aliases = alias.Open(t.TempDir())
	if got := where(e, "ann@here.example"); got != "4.3.0" {
		t.Errorf("aliases that cannot be read: %s", got)
	}
}

func TestRelayRecipients(t *testing.T) {
	e := testExpander(t)
	path := filepath.Join(t.TempDir(), "known")
	if err := os.WriteFile(path, []byte("ann@hub.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.RelayDomains, e.RelayKnown = []string{"hub.example"}, alias.OpenSet(path)
	for to, want := range map[string]string{
		"ann@hub.example": "", "ann+x@hub.example": "", "bob@hub.example": "5.1.1", "bob@elsewhere.example": "", "ann@here.example": "",
	} {
		a, _ := address.Parse(to)
		err := e.Check(t.Context(), address.Address{}, a)
		if (err == nil) != (want == "") || err != nil && status.Code(err) != want {
			t.Errorf("Check(%s) = %v, want %s", to, err, want)
		}
	}
}

// homes are accounts with a home, as a users file has them.
type homes map[string]auth.Account

func (h homes) Lookup(name string) (auth.Account, bool, error) {
	a, ok := h[name]
	return a, ok, nil
}

func TestForwardFiles(t *testing.T) {
	e := testExpander(t)
	accounts := homes{}
	home := func(name string, uid int, text string) {
		dir := t.TempDir()
		accounts[name] = auth.Account{Name: name, UID: uid, GID: uid, Home: dir, Maildir: "/mail/" + name}
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, ".forward"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.System = accounts
	home("plain", -1, "")
	home("away", -1, "x@far.example\n")
	home("copy", -1, "\\copy, x@far.example\n")
	home("same", -1, "same@here.example\nx@far.example\n")
	home("chain", -1, "copy\n")
	home("ping", -1, "pong\n")
	home("pong", -1, "ping\n")
	home("broken", -1, "a b\n")
	home("command", -1, "|/bin/true\n")
	own := os.Geteuid()
	if own == 0 {
		own = 1500
		for dir := t.TempDir(); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
			os.Chmod(dir, 0o755) // or that uid does not get there
		}
	}
	home("vacation", own, "\\vacation, \"|vacation me\", /mail/box/, /dev/null\n")
	for to, want := range map[string]string{
		"plain@here.example":    "/mail/plain",
		"away@here.example":     "x@far.example smtp",
		"copy@here.example":     "/mail/copy, x@far.example smtp",
		"copy+tag@here.example": "/mail/copy, x@far.example smtp",
		"same@here.example":     "/mail/same, x@far.example smtp",
		"chain@here.example":    "/mail/copy, x@far.example smtp",
		"ping@here.example":     "/mail/ping", // a circle ends where it began
		"broken@here.example":   "4.3.0",
		"command@here.example":  "4.3.5",
		"vacation@here.example": "/mail/vacation, vacation@here.example pipe, /mail/box, vacation@here.example discard",
	} {
		if got := where(e, to); got != want {
			t.Errorf("Resolve(%s) = %s, want %s", to, got, want)
		}
	}
	a, _ := address.Parse("vacation@here.example")
	found, err := e.Resolve(t.Context(), address.Address{}, a)
	if err != nil || found[1].UID != own || found[1].GID != own || found[1].Home == "" {
		t.Errorf("%+v, %v", found, err)
	}
}

// Who sends decides between routes for the recipient and the smarthost.
func TestTheWayOfASender(t *testing.T) {
	e := testExpander(t)
	var err error
	if e.Senders, err = route.ParseSenders("senders", "ann@here.example smtps://ann@own.example\n"); err != nil {
		t.Fatal(err)
	}
	ann := address.Address{Local: "ann", Domain: "here.example"}
	for _, tt := range []struct {
		from address.Address
		to   string
		want string
	}{
		{ann, "x@y.example", "smtps://ann@own.example"},
		{address.Address{Local: "bob", Domain: "here.example"}, "x@y.example", "smtp://hub.example"},
		{address.Address{}, "x@y.example", "smtp://hub.example"},
		{ann, "x@a.far.example", "mx:"},
		{ann, "ann@here.example", ""},
	} {
		to, _ := address.Parse(tt.to)
		found, err := e.Resolve(t.Context(), tt.from, to)
		if err != nil || len(found) != 1 || found[0].Route.String() != tt.want {
			t.Errorf("from %s to %s: %+v, %v; want %s", tt.from, tt.to, found, err, tt.want)
		}
	}
}
