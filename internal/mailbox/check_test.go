package mailbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/uidlist"
)

// findings gives what Check says, faults with a mark.
func (x *fixture) findings() string {
	x.t.Helper()
	found, err := x.process().Check(x.dir)
	x.must(err)
	var lines []string
	for _, f := range found {
		if f.Fault {
			f.Text = "! " + f.Text
		}
		lines = append(lines, f.Text)
	}
	return strings.Join(lines, "\n")
}

// flip changes an octet in the middle of a file.
func (x *fixture) flip(name string) {
	x.t.Helper()
	path := filepath.Join(x.dir, name)
	b, err := os.ReadFile(path)
	x.must(err)
	b[len(b)/2] ^= 0xFF
	x.must(os.WriteFile(path, b, 0o600))
}

func TestCheckAndRepair(t *testing.T) {
	const one = "cur/1700000000.M1P1.host,S=4:2,S"
	for name, c := range map[string]struct {
		harm     func(x *fixture)
		want     string
		repaired string // what is left after Repair
	}{
		"nothing wrong":        {func(*fixture) {}, "", ""},
		"a log that is none":   {func(x *fixture) { x.write(logName, strings.Repeat("x", 100)) }, "! postbag.log: is no log\npostbag.snap: is of an older log\n5 letters have no UID yet", "postbag.log.bad: a log that was damaged once"},
		"no log":               {func(x *fixture) { os.Remove(filepath.Join(x.dir, logName)) }, "there is no log: no session has been here yet\n5 letters have no UID yet", ""},
		"records missing":      {func(x *fixture) { x.flip(logName) }, "! postbag.log: records are missing in 1 places", "postbag.log.bad: a log that was damaged once"},
		"a damaged snapshot":   {func(x *fixture) { x.flip(snapName) }, "! postbag.snap: is damaged", ""},
		"damaged stamps":       {func(x *fixture) { x.write(stampsName, "x") }, "! postbag.stamps: is damaged", ""},
		"new, gone, changed":   {func(x *fixture) { x.deliver("new\n"); x.rename(one, one+"T"); x.removeOne(one) }, "1 letters have no UID yet\n1 letters were removed by others since the last session\n1 letters were given other flags by others since the last session", ""},
		"a name that lies":     {func(x *fixture) { x.write(one, "longer\n") }, "! " + one + ": has 7 octets, its name says 4", "! " + one + ": has 7 octets, its name says 4"},
		"two files, one name":  {func(x *fixture) { x.write("new/1700000000.M1P1.host", "two\n") }, "! new/1700000000.M1P1.host: has the name of " + one, ""},
		"another server's UID": {func(x *fixture) { x.write(uidlist.Dovecot, "3 V1 N9\n1 :1700000000.M1P1.host,S=4\n") }, "! dovecot-uidlist: has UIDVALIDITY 1, the log ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t)
			x.write(one, "one\n")
			f, err := x.store.Open(x.ctx, x.dir)
			x.must(err)
			x.must(f.Sync(x.ctx))
			x.append(f, "two\r\n", "three\r\n")
			x.append(f, "four\r\n")
			x.append(f, "five\r\n")
			x.must(f.PayDebts(x.ctx))
			f.b.lock()
			f.b.snapEnd = -snapAfter
			f.b.remember()
			f.b.unlock()
			f.Close()
			c.harm(x)
			before := x.everything()
			if got := x.findings(); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("Check says:\n%s\nwant:\n%s", got, c.want)
			}
			if after := x.everything(); after != before {
				t.Errorf("Check has changed\n%s\nto\n%s", before, after)
			}
			x.must(x.process().Repair(x.ctx, x.dir))
			if got := x.findings(); got != c.repaired {
				t.Errorf("after Repair Check says:\n%s\nwant:\n%s", got, c.repaired)
			}
		})
	}
}

// removeOne removes a file that is not the one named, nor new.
func (x *fixture) removeOne(not string) {
	x.t.Helper()
	for _, at := range x.files() {
		if at[0] == 'c' && !strings.HasPrefix(at, not) {
			x.must(os.Remove(filepath.Join(x.dir, at)))
			return
		}
	}
}

// everything lists files with their content.
func (x *fixture) everything() string {
	x.t.Helper()
	var b strings.Builder
	x.must(filepath.Walk(x.dir, func(path string, st os.FileInfo, err error) error {
		if err != nil || st.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		b.WriteString(path + " " + st.ModTime().String() + "\n" + string(text) + "\n")
		return err
	}))
	return b.String()
}
