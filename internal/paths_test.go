package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ofMaildirs are the packages that work below an account's Maildir. They take every
// path by way of durable.FS, which does that in the name of the account's owner.
var ofMaildirs = []string{"maildir", "mboxlog", "mailcache", "uidlist", "quota", "mailbox", "account"}

// pathless is what they may use of packages that can also take paths: values, types,
// and calls that work on a descriptor, on a name alone, or on no file at all; and
// inotify, which has a way of its own to be the owner (mailbox.watcher).
var pathless = map[string][]string{
	"os": {
		"ErrClosed", "ErrExist", "ErrNotExist", "File", "FileInfo", "FileMode", "Getpid", "Hostname", "IsExist", "IsNotExist", "NewFile", "SameFile",
		"O_APPEND", "O_CREATE", "O_EXCL", "O_RDONLY", "O_RDWR", "O_WRONLY",
	},
	"syscall": {
		"Close", "Fstat", "Kill", "Pread", "ReadDirent", "Stat_t", "Timespec", "EFBIG", "EINTR", "ENOTDIR", "ESRCH",
		"DT_DIR", "DT_UNKNOWN", "EPERM", "O_DIRECTORY", "O_NOATIME", "O_NOFOLLOW", "O_NONBLOCK", "O_RDONLY", "S_IFMT", "S_IFREG",
	},
	"golang.org/x/sys/unix": {
		"CLOCK_REALTIME_COARSE", "ClockGettime", "EINTR", "IoctlGetInt", "Read", "TIOCINQ", "Timespec",
		"IN_ATTRIB", "IN_CLOEXEC", "IN_CREATE", "IN_DELETE", "IN_IGNORED", "IN_MASK_ADD", "IN_MODIFY", "IN_MOVED_FROM", "IN_MOVED_TO",
		"IN_NONBLOCK", "IN_ONLYDIR", "IN_Q_OVERFLOW", "InotifyAddWatch", "InotifyInit1", "InotifyRmWatch", "SizeofInotifyEvent",
	},
	"path/filepath": {"Abs", "Base", "Clean", "Dir", "Ext", "Join", "Rel"},
	"os/exec":       {}, "io/ioutil": {}, "os/user": {},
}

func TestPathsGoByWayOfTheFS(t *testing.T) {
	for _, name := range ofMaildirs {
		files, err := filepath.Glob(name + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("package %s: no files: %v", name, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				checkPaths(t, file)
			}
		}
	}
}

func checkPaths(t *testing.T, file string) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	imported := map[string]string{} // name in this file to path
	for _, im := range f.Imports {
		path := strings.Trim(im.Path.Value, `"`)
		name := path[strings.LastIndexByte(path, '/')+1:]
		if im.Name != nil {
			name = im.Name.Name
		}
		if _, watched := pathless[path]; watched {
			imported[name] = path
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			pkg, _ := sel.X.(*ast.Ident)
			if pkg != nil && imported[pkg.Name] != "" && !slices.Contains(pathless[imported[pkg.Name]], sel.Sel.Name) {
				t.Errorf("%s: %s.%s; paths are durable.FS's", set.Position(sel.Pos()), pkg.Name, sel.Sel.Name)
			}
		}
		return true
	})
}
