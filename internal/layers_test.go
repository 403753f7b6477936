package internal

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layer is the map of the program: a package may import only packages of a
// lower layer. A new line here is a design decision, made in review;
// doc/design.md says what each package is for.
var layer = map[string]int{
	"status": 0, "metrics": 0, "durable": 1, "address": 1, "imapwire": 1,
	"message": 2, "mime": 2, "config": 2, "maillog": 2, "auth": 2, "resolve": 2, "popclient": 2, "srs": 2,
	"netserve": 3,
	"maildir":  3, "quota": 4, "spool": 4, "alias": 3, "route": 3, "smtpout": 3, "mboxlog": 3, "mailcache": 3, "fetchlog": 3, "uidlist": 3,
	"mailbox": 5, "search": 4, "recipient": 4, "deliver": 5, "trust": 4, "tlsreport": 4,
	"account": 6, "queue": 6, "fetch": 6,
	"smtpsrv": 7, "popsrv": 7, "imapsrv": 7,
}

// tools are packages that only tests and the makefile use; they may import
// anything, and nothing in layer may import them.
var tools = []string{"mailtest", "demo", "bench"}

// owner names the only packages that may import a third-party module, by the
// prefix of its path. What is not listed may not be imported at all.
var owner = map[string][]string{
	"golang.org/x/net/idna":            {"address"},
	"golang.org/x/net/publicsuffix":    {"trust"},
	"blitiri.com.ar/go/spf":            {"trust"},
	"golang.org/x/sys":                 {"durable", "netserve", "spool", "mailbox", "fetchlog"},
	"golang.org/x/text":                {"account", "mime", "message", "search"},
	"golang.org/x/crypto":              {"auth"},
	"github.com/emersion/go-message":   {"message"},
	"github.com/emersion/go-sasl":      {"auth", "smtpsrv", "smtpout", "fetch", "popsrv", "imapsrv", "popclient"},
	"github.com/emersion/go-msgauth":   {"trust"},
	"github.com/emersion/go-smtp":      {"smtpsrv", "smtpout"},
	"github.com/emersion/go-imap/v2":   {"imapsrv", "fetch"},
	"github.com/emersion/go-maildir":   {"maildir"},
	"github.com/miekg/dns":             {"resolve"},
	"github.com/xdg-go/scram":          {"auth"},
	"github.com/GehirnInc/crypt":       {"auth"},
	"github.com/openwall/yescrypt-go":  {"auth"},
	"github.com/urfave/cli/v2":         {"config"},
	"github.com/BurntSushi/toml":       {"config"},
	"github.com/coreos/go-systemd/v22": {"netserve"},
	"github.com/pires/go-proxyproto":   {"netserve"},
}

const module = "postbag/internal/"

func TestImportsOnlyGoDownwards(t *testing.T) {
	for name, imports := range packages(t) {
		if slices.Contains(tools, name) {
			continue
		}
		at, known := layer[name]
		if !known {
			t.Errorf("package %s has no layer in the map", name)
		}
		for path, file := range imports {
			checkImport(t, name, at, path, file)
		}
	}
}

func checkImport(t *testing.T, name string, at int, path, file string) {
	t.Helper()
	if target, ours := strings.CutPrefix(path, module); ours {
		if to, ok := layer[target]; !ok || to >= at {
			t.Errorf("%s imports %s; the map does not allow it", file, target)
		}
		return
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return // standard library
	}
	for prefix, who := range owner {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && slices.Contains(who, name) {
			return
		}
	}
	t.Errorf("%s imports %s; the map names no such importer", file, path)
}

// packages lists the imports of each package's code without its tests: import
// path to the file that has it.
func packages(t *testing.T) map[string]map[string]string {
	t.Helper()
	files, err := filepath.Glob("*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no packages found: %v", err)
	}
	all := map[string]map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		name := filepath.Dir(file)
		if all[name] == nil {
			all[name] = map[string]string{}
		}
		for _, path := range importsOf(t, file) {
			all[name][path] = file
		}
	}
	return all
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, im := range f.Imports {
		paths = append(paths, strings.Trim(im.Path.Value, `"`))
	}
	return paths
}

func TestOnlyCommandsSeeTheCommandLine(t *testing.T) {
	for name, imports := range packages(t) {
		if _, ok := imports[module+"config"]; ok && !slices.Contains(tools, name) {
			t.Errorf("package %s imports config; only cmd/ may", name)
		}
	}
}
