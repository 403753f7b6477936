package deliver

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
	"postbag/internal/recipient"
	"postbag/internal/route"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// toFile makes one attempt to append a letter to a file.
func toFile(t *testing.T, m Mail, path string) Outcome {
	t.Helper()
	d := recipient.Destination{Address: addr("bob@example.org"), UID: -1, GID: -1, Route: route.File(path)}
	r := &Remote{Files: Files{Local: &Local{FS: durable.New(), Hostname: "h"}, Every: time.Millisecond}}
	return r.Send(t.Context(), d, m, []spool.Recipient{{Address: addr("bob@example.org")}})[0]
}

// fileDir is a directory in which files can be written, by root too: in the name
// of its owner.
func fileDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return t.TempDir()
	}
	return home(t, mailtest.RootDir(t)+"/ann", 1500)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLettersInAFile(t *testing.T) {
	path := fileDir(t) + "/mbox"
	for _, text := range []string{"Subject: x\n\nFrom here\n>From there\n", "Subject: y\n\nno line end"} {
		if o := toFile(t, mail(text), path); o.Err != nil || o.Reply == "" {
			t.Fatalf("%+v", o)
		}
	}
	var lines []string
	for line := range strings.Lines(readFile(t, path)) {
		if strings.HasPrefix(line, "From ann@example.org  ") {
			line = "From\n"
		}
		lines = append(lines, line)
	}
	fields := "From\nReturn-Path: <ann@example.org>\nDelivered-To: bob@example.org\n"
	want := fields + "Subject: x\n\n>From here\n>From there\n\n" + fields + "Subject: y\n\nno line end\n\n"
	if got := strings.Join(lines, ""); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Errorf("left beside it: %q", left)
	}
	if uids := uidsBelow(t, path); os.Geteuid() == 0 && !uids[1500] {
		t.Errorf("belongs to %v", uids)
	}
}

func TestALetterThatCannotBeReadLeavesTheFileAsItWas(t *testing.T) {
	path := fileDir(t) + "/mbox"
	toFile(t, mail("Subject: x\n\n"), path)
	before := readFile(t, path)
	m := mail("")
	m.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("x\n", 100_000)), broken{})), nil
	}
	if o := toFile(t, m, path); o.Err == nil || status.ClassOf(o.Err) != status.Temporary {
		t.Errorf("%+v", o)
	}
	if got := readFile(t, path); got != before {
		t.Errorf("%d octets, %d before", len(got), len(before))
	}
}

func TestAFileThatOthersHaveLocked(t *testing.T) {
	path := fileDir(t) + "/mbox"
	toFile(t, mail("x\n"), path)
	before := readFile(t, path)

	f, err := durable.New().OpenRW(path)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := f.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if o := toFile(t, mail("x\n"), path); !errors.Is(o.Err, errLocked) || readFile(t, path) != before {
		t.Errorf("locked by fcntl: %+v", o)
	}
	f.Close()

	if err := os.WriteFile(path+".lock", nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if o := toFile(t, mail("x\n"), path); !errors.Is(o.Err, errLocked) || readFile(t, path) != before {
		t.Errorf("locked by a file: %+v", o)
	}
	old := time.Now().Add(-2 * mboxLockStale)
	if err := os.Chtimes(path+".lock", old, old); err != nil {
		t.Fatal(err)
	}
	if o := toFile(t, mail("x\n"), path); o.Err != nil || readFile(t, path) == before {
		t.Errorf("locked by somebody who died: %+v", o)
	}
}

func TestWhatIsNoMailboxFile(t *testing.T) {
	dir := fileDir(t)
	for _, name := range []string{"one", "dir"} {
		toFile(t, mail("x\n"), filepath.Join(dir, name))
	}
	if err := errors.Join(os.Remove(dir+"/dir"), os.Mkdir(dir+"/dir", 0o777), os.Link(dir+"/one", dir+"/two"), os.Symlink("/dev/zero", dir+"/device")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir", "two", "device", "nowhere/x"} {
		if o := toFile(t, mail("x\n"), filepath.Join(dir, name)); o.Err == nil || status.ClassOf(o.Err) != status.Temporary {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
