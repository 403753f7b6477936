package mailbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
)

// agentEnv makes this test binary an agent: a process whose sessions do what
// orders on its standard input say, until it is killed. Its value is a Maildir.
const agentEnv = "POSTBAG_TEST_MAILBOX_AGENT"

// sessions is how many sessions an agent has, each with both folders selected.
const sessions = 2

// modelFolders are the folders of the model, below the Maildir.
var modelFolders = []string{"", ".B"}

// An order is what one session of an agent shall do.
type order struct {
	Op      string // look, old, append, store, expunge, copy, move, settle, pay, close
	Session int
	Folder  int
	To      int // the other folder of copy and move
	UIDs    []uint32
	Texts   []string
	Change  FlagChange
	Since   uint64 // of look: what has vanished since
}

func (o order) String() string {
	var subjects []string
	for _, text := range o.Texts {
		subjects = append(subjects, strings.Fields(text)[1])
	}
	return fmt.Sprintf("session %d: %s %d %v %q to %d, %+v", o.Session, o.Op, o.Folder, o.UIDs, subjects, o.To, o.Change)
}

// A report is what an agent says of an order that it has carried out.
type report struct {
	Err      string
	From, To []uint32

	Validity, UIDNext uint32
	ModSeq            uint64
	Letters           []seenLetter
	Vanished          []Range
}

// A seenLetter is what a client is told of a letter.
type seenLetter struct {
	UID      uint32
	ModSeq   uint64
	Flags    Flags
	Keywords []string
	Text     string
	Gone     bool // its file is
}

// An agent is such a process, seen from the test.
type agent struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err strings.Builder
}

func startAgent(t *testing.T, root string) *agent {
	t.Helper()
	a := &agent{t: t, cmd: exec.Command(os.Args[0])}
	a.cmd.Env = append(os.Environ(), agentEnv+"="+root)
	a.cmd.Stderr = &a.err
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err == nil {
		err = a.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewReader(out)
	t.Cleanup(a.kill)
	return a
}

// kill ends it as kill -9 does.
func (a *agent) kill() {
	a.cmd.Process.Kill()
	a.cmd.Wait()
	if a.err.Len() > 0 {
		a.t.Errorf("an agent said: %s", a.err.String())
		a.err.Reset()
	}
}

func (a *agent) give(o order) {
	a.t.Helper()
	if err := json.NewEncoder(a.in).Encode(o); err != nil {
		a.t.Fatal(err)
	}
}

// hear reads the report of an order; false when the agent died before.
func (a *agent) hear() (r report, whole bool) {
	line, err := a.out.ReadBytes('\n')
	return r, err == nil && json.Unmarshal(line, &r) == nil
}

// do has an order carried out.
func (a *agent) do(o order) report {
	a.t.Helper()
	a.give(o)
	r, whole := a.hear()
	if !whole || r.Err != "" {
		a.t.Fatalf("%+v: %s %s", o, r.Err, a.err.String())
	}
	return r
}

// An office is the inside of an agent.
type office struct {
	ctx   context.Context
	root  string
	store *Store
	open  [sessions][2]*Folder // nil when it is closed
	held  [sessions][2]*View   // what each session was told last

	cancel [2]func() // what the second session has subscribed
}

// folder opens a folder for a session that has not got it open.
func (x *office) folder(session, folder int) (*Folder, error) {
	at := &x.open[session][folder]
	if *at != nil {
		return *at, nil
	}
	f, err := x.store.Open(x.ctx, filepath.Join(x.root, modelFolders[folder]))
	if err != nil {
		return nil, err
	}
	if session > 0 { // this one hears of changes by inotify, and follows them at once
		x.cancel[folder] = f.Subscribe(func() {})
	}
	*at, x.held[session][folder] = f, f.View()
	return f, nil
}

// close has all sessions leave a folder.
func (x *office) close(folder int) {
	for s := range sessions {
		if f := x.open[s][folder]; f != nil {
			if s > 0 {
				x.cancel[folder]()
			}
			f.Close()
			x.open[s][folder] = nil
		}
	}
}

func serveAgent(root string) error {
	x := &office{ctx: context.Background(), root: root, store: NewStore(durable.New(), Options{})}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return x.store.Close()
			}
			return err
		}
		r, err := x.carryOut(o)
		if err != nil {
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func (x *office) carryOut(o order) (r report, err error) {
	if o.Op == "close" {
		x.close(o.Folder)
		return r, nil
	}
	f, err := x.folder(o.Session, o.Folder)
	if err != nil {
		return r, err
	}
	to, err := x.folder(o.Session, o.To)
	if err != nil {
		return r, err
	}
	switch o.Op {
	case "look":
		return x.look(f, o)
	case "old":
		r.Letters, err = x.read(f, x.held[o.Session][o.Folder])
	case "append":
		r.To, err = x.append(f, o)
	case "store":
		_, err = f.Store(x.ctx, o.UIDs, o.Change, Always)
	case "expunge":
		r.From, err = f.Expunge(x.ctx, o.UIDs)
	case "copy":
		r.From, r.To, err = Copy(x.ctx, f, o.UIDs, to)
	case "move":
		r.From, r.To, err = Move(x.ctx, f, o.UIDs, to)
	case "settle":
		err = f.Settle(x.ctx)
	case "pay":
		err = f.PayDebts(x.ctx)
	default:
		err = fmt.Errorf("no such order: %q", o.Op)
	}
	r.Validity = to.View().UIDValidity()
	return r, err
}

// look brings a session up to date and says all that it sees.
func (x *office) look(f *Folder, o order) (r report, err error) {
	if err := f.Sync(x.ctx); err != nil {
		return r, err
	}
	v := f.View()
	x.held[o.Session][o.Folder] = v
	r = report{Validity: v.UIDValidity(), UIDNext: v.UIDNext(), ModSeq: v.HighestModSeq(), Vanished: v.VanishedSince(o.Since)}
	r.Letters, err = x.read(f, v)
	return r, err
}

// read reads every letter of a version.
func (x *office) read(f *Folder, v *View) (all []seenLetter, err error) {
	for i := range v.Len() {
		l := v.At(i)
		seen := seenLetter{UID: l.UID, ModSeq: l.ModSeq, Flags: l.Flags, Keywords: l.Keywords}
		c, err := f.Content(x.ctx, l)
		if err == nil {
			var text []byte
			text, err = io.ReadAll(c)
			seen.Text = string(text)
			c.Close()
		}
		seen.Gone = errors.Is(err, ErrExpunged)
		if err != nil && !seen.Gone {
			return all, err
		}
		all = append(all, seen)
	}
	return all, nil
}

func (x *office) append(f *Folder, o order) ([]uint32, error) {
	a := f.NewAppend()
	defer a.Discard()
	for _, text := range o.Texts {
		if err := a.Add(o.Change.Set, o.Change.SetKeywords, time.Time{}, strings.NewReader(text)); err != nil {
			return nil, err
		}
	}
	return a.Commit(x.ctx)
}
