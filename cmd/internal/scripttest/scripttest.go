// Package scripttest runs the scripts of a command's testdata against built
// programs. Beyond testscript's own commands there are
//
//	exits CODE PROGRAM ARGS...   the program ends with that code
//	start NAME PROGRAM ARGS...   a daemon; $NAME_proto is where it listens,
//	                             $NAME_proto_port the port alone
//	end NAME                     SIGTERM, after which it ends with 0
//	hup NAME                     SIGHUP
//	log NAME REGEXP              the daemon has written such a line
//	dialog NAME_proto FILE       lines "C: " are sent, "S: " are expected (as
//	                             regular expressions)
//	mode FILE OCTAL              changes a file's mode
//	envfile FILE                 replaces $VARIABLES in a file
package scripttest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Run builds programs of cmd/ and runs all scripts of testdata with them.
func Run(t *testing.T, programs ...string) {
	bin := t.TempDir()
	for _, p := range programs {
		out, err := exec.Command("go", "build", "-o", filepath.Join(bin, p), "postbag/cmd/"+p).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v: %s", p, err, out)
		}
	}
	noStop(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Setup:               func(env *testscript.Env) error { return setup(env, bin) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "start": start, "end": end, "hup": hup, "log": logged, "dialog": dialog, "mode": mode, "envfile": envfile,
		},
	})
}

// noStop refuses the command stop of testscript: it ends a script with success,
// whatever follows it.
func noStop(t *testing.T) {
	scripts, _ := filepath.Glob("testdata/*.txtar")
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`(?m)^stop\b`).Match(text) {
			t.Errorf("%s: stop ends the script; end NAME ends a daemon", path)
		}
	}
}

// condition is what scripts may ask for beside the conditions of testscript.
func condition(name string) (bool, error) {
	if name != "root" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return os.Geteuid() == 0, nil
}

func setup(env *testscript.Env, bin string) error {
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("POSTBAG_SPOOL", filepath.Join(env.WorkDir, "spool"))
	env.Setenv("POSTBAG_HOSTNAME", "mx.example.org")
	env.Values[daemons{}] = map[string]*daemon{}
	env.Defer(func() { endAll(env.WorkDir) })
	return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o700)
}

// endAll ends what the programs have left running in the background: whatever
// has the script's directory on its command line.
func endAll(dir string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte(dir+"/spool")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			syscall.Kill(pid, syscall.SIGTERM)
		}
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if e, ok := err.(*exec.ExitError); ok {
		code = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s exits with %d, not %s", args[1], code, args[0])
	}
}

// daemons is the key under which a script has its daemons.
type daemons struct{}

type daemon struct {
	cmd  *exec.Cmd
	done chan error

	mu  sync.Mutex
	log bytes.Buffer
}

func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.Write(p)
}

func (d *daemon) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// await waits for a line in the log.
func (d *daemon) await(re *regexp.Regexp) (found [][]string) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if found = re.FindAllStringSubmatch(d.text(), -1); found != nil {
			return found
		}
	}
	return nil
}

var listening = regexp.MustCompile(`msg=listening proto=(\S+) addr=(\S+)`)

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARGS...")
	}
	path, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), ":")[0], args[1]))
	ts.Check(err)
	d := &daemon{cmd: exec.Command(path, args[2:]...), done: make(chan error, 1)}
	d.cmd.Dir, d.cmd.Stderr = ts.MkAbs("."), d
	d.cmd.Env = append(os.Environ(), "POSTBAG_SPOOL="+ts.Getenv("POSTBAG_SPOOL"), "POSTBAG_HOSTNAME="+ts.Getenv("POSTBAG_HOSTNAME"), "HOME="+ts.Getenv("HOME"))
	ts.Check(d.cmd.Start())
	go func() { d.done <- d.cmd.Wait() }()
	ts.Value(daemons{}).(map[string]*daemon)[args[0]] = d
	ts.Defer(func() { d.cmd.Process.Kill() })
	if d.await(listening) == nil {
		ts.Fatalf("%s does not listen: %s", args[1], d.text())
	}
	time.Sleep(50 * time.Millisecond) // further listeners
	for _, m := range listening.FindAllStringSubmatch(d.text(), -1) {
		ts.Setenv(args[0]+"_"+m[1], m[2])
		_, port, _ := net.SplitHostPort(m[2])
		ts.Setenv(args[0]+"_"+m[1]+"_port", port)
	}
}

func find(ts *testscript.TestScript, name string) *daemon {
	d := ts.Value(daemons{}).(map[string]*daemon)[name]
	if d == nil {
		ts.Fatalf("no daemon %s", name)
	}
	return d
}

func end(ts *testscript.TestScript, neg bool, args []string) {
	d := find(ts, args[0])
	ts.Check(d.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-d.done:
		if err != nil {
			ts.Fatalf("%s: %v: %s", args[0], err, d.text())
		}
	case <-time.After(10 * time.Second):
		ts.Fatalf("%s does not end: %s", args[0], d.text())
	}
}

func hup(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(find(ts, args[0]).cmd.Process.Signal(syscall.SIGHUP))
}

func logged(ts *testscript.TestScript, neg bool, args []string) {
	d := find(ts, args[0])
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	if neg {
		if re.MatchString(d.text()) {
			ts.Fatalf("%q is in the log:\n%s", args[1], d.text())
		}
		return
	}
	if d.await(re) == nil {
		ts.Fatalf("%q is not in the log:\n%s", args[1], d.text())
	}
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	m, err := strconv.ParseUint(args[1], 8, 32)
	ts.Check(err)
	ts.Check(os.Chmod(ts.MkAbs(args[0]), os.FileMode(m)))
}

func envfile(ts *testscript.TestScript, neg bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

func dialog(ts *testscript.TestScript, neg bool, args []string) {
	c, err := net.Dial("tcp", ts.Getenv(args[0]))
	ts.Check(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	for _, l := range strings.Split(strings.TrimSpace(ts.ReadFile(args[1])), "\n") {
		if say, ok := strings.CutPrefix(l, "C: "); ok {
			_, err := io.WriteString(c, say+"\r\n")
			ts.Check(err)
			continue
		}
		want := strings.TrimPrefix(strings.TrimPrefix(l, "S:"), " ")
		got, err := r.ReadString('\n')
		if ok, merr := regexp.MatchString("^(?:"+want+")\r\n$", got); !ok || merr != nil {
			ts.Fatalf("server says %q (%v), want %q", got, err, want)
		}
	}
	if rest, _ := r.Peek(1); len(rest) > 0 {
		ts.Fatalf("server says more")
	}
}

// CheckPage compares the flags that a program's --help has with those of its man
// page.
func CheckPage(t *testing.T, program, page string) {
	t.Helper()
	help, err := exec.Command("go", "run", "postbag/cmd/"+program, "--help").Output()
	if err != nil {
		t.Fatalf("%s --help: %v", program, err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	has, documented := flags(string(help), `(?m)^  --([a-z-]+)`), flags(string(text), `(?m)^\.It Fl Fl ([a-z-]+)`)
	for f := range has {
		if !documented[f] {
			t.Errorf("--%s is not in %s", f, page)
		}
	}
	for f := range documented {
		if !has[f] {
			t.Errorf("--%s of %s does not exist", f, page)
		}
	}
	if len(has) == 0 {
		t.Error(fmt.Errorf("no flags in %q", help))
	}
}

func flags(text, pattern string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all[m[1]] = true
	}
	return all
}
