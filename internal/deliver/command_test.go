package deliver

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/recipient"
	"postbag/internal/route"
	"postbag/internal/spool"
	"postbag/internal/status"
)

// pipe gives a letter to a command and tells how that went, in short.
func pipe(t *testing.T, text, command string) string {
	t.Helper()
	d := recipient.Destination{Address: addr("bob+x@example.org"), UID: -1, GID: -1, Route: route.Route{Kind: route.Pipe, Text: command}}
	r := &Remote{Commands: Commander{Time: 2 * time.Second}}
	o := r.Send(t.Context(), d, mail(text), []spool.Recipient{{Address: addr("bob+x@example.org")}})[0]
	if o.Err == nil {
		return "ok"
	}
	_, code, said := status.Reply(o.Err)
	return status.ClassOf(o.Err).String() + " " + code + " " + said
}

func TestWhatTheEndOfACommandMeans(t *testing.T) {
	big := strings.Repeat("x\n", 1<<20)
	for _, c := range []struct{ name, text, command, want string }{
		{"0 is success", "x\n", "cat >/dev/null", "ok"},
		{"whether it reads or not", big, "true", "ok"},
		{"and whatever it leaves running", "x\n", "sleep 5 & exit 0", "ok"},
		{"75 is for later", "x\n", "exit 75", "temporary 4.3.0 command failed"},
		{"71 too", "x\n", "exit 71", "temporary 4.3.0 command failed"},
		{"no such command", "x\n", "/nowhere/x 2>/dev/null", "temporary 4.3.0 command failed"},
		{"a signal", "x\n", "kill -9 $$", "temporary 4.3.0 command failed"},
		{"too slow, with its children", "x\n", "sleep 60; true", "temporary 4.3.0 command did not end within 2s"},
		{"67 means that there is no such user", "x\n", "echo who; exit 67", "permanent 5.1.1 who"},
		{"others are refusals", "x\n", "printf 'no\\a\\n way'; exit 1", "permanent 5.3.0 no? way"},
		{"unless the output says more", "x\n", "echo 4.2.2 full; exit 1", "temporary 4.2.2 full"},
		{"in either way", "x\n", "echo 5.7.1 never; exit 75", "permanent 5.7.1 never"},
		{"a success is one whatever it prints", "x\n", "echo 5.7.1 never", "ok"},
	} {
		if got := pipe(t, c.text, c.command); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := pipe(t, "x\n", "head -c 100000 /dev/zero | tr '\\0' y; exit 1"); len(got) > commandOutput+50 {
		t.Errorf("%d octets of output", len(got))
	}
}

// open makes a directory that everybody may write to, for commands are nobody's
// when root runs the test.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postbag-command")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestWhatACommandIsGiven(t *testing.T) {
	t.Setenv("POSTBAG_SECRET", "x")
	dir := open(t)
	if got := pipe(t, "Subject: x\n\nbody\n", "cat >"+dir+"/letter; env >"+dir+"/env; id -u >"+dir+"/uid"); got != "ok" {
		t.Fatal(got)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got, want := read("letter"), "Return-Path: <ann@example.org>\nDelivered-To: bob+x@example.org\nSubject: x\n\nbody\n"; got != want {
		t.Errorf("letter %q, want %q", got, want)
	}
	env := "\n" + read("env")
	for _, want := range []string{"SENDER=ann@example.org", "RECIPIENT=bob+x@example.org", "USER=bob", "EXTENSION=x", "DOMAIN=example.org"} {
		if !strings.Contains(env, "\n"+want+"\n") {
			t.Errorf("environment without %s:%s", want, env)
		}
	}
	if strings.Contains(env, "POSTBAG") {
		t.Error("the command sees our settings")
	}
	if strings.TrimSpace(read("uid")) == "0" {
		t.Error("the command is root")
	}
}

func TestADamagedLetterIsNotGivenToACommand(t *testing.T) {
	dir := open(t)
	m := mail("x\n")
	m.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("x\n"), broken{})), nil
	}
	d := recipient.Destination{Address: addr("bob@example.org"), UID: -1, GID: -1, Route: route.Route{Kind: route.Pipe, Text: "cat >" + dir + "/letter"}}
	o := (&Remote{}).Send(t.Context(), d, m, []spool.Recipient{{Address: addr("bob@example.org")}})[0]
	if _, err := os.Stat(dir + "/letter"); err == nil || o.Err == nil || status.ClassOf(o.Err) != status.Temporary {
		t.Errorf("%v, file %v", o.Err, err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("damaged") }
