package durable

import "time"

// An OpKind names a step.
type OpKind string

// The steps that a Tracer sees.
const (
	OpCreate    OpKind = "create" // a new file
	OpOpen      OpKind = "open"   // a file that may be there already
	OpWrite     OpKind = "write"
	OpTruncate  OpKind = "truncate"
	OpSync      OpKind = "sync"               // fdatasync of a file
	OpSyncNamed OpKind = "sync with its name" // fsync of a new file, whose name it keeps
	OpClose     OpKind = "close"
	OpRename    OpKind = "rename"  // without replacing
	OpReplace   OpKind = "replace" // with
	OpLink      OpKind = "link"
	OpRemove    OpKind = "remove"
	OpMkdir     OpKind = "mkdir"
	OpChmod     OpKind = "chmod"
	OpChown     OpKind = "chown"
	OpSyncDir   OpKind = "syncdir"
	OpAnswer    OpKind = "answer" // something was told to a peer
)

// An Op is one step.
type Op struct {
	Kind   OpKind
	Path   string
	To     string // of rename, replace, link; the text of an answer
	File   *File  // of steps on an open file
	Offset int64  // of write: where; of truncate: the new length
	Data   []byte // of write; not to be kept or changed
}

// A Tracer stands between the program and the disk. Step is called for each op
// by the goroutine that takes it, and usually calls do, which takes it; its
// result is what the program sees. It must be safe for concurrent use.
type Tracer interface {
	Step(op Op, do func() error) error
}

// onFile are steps on an open file, which need no rights any more.
func (op Op) onFile() bool { return op.File != nil }

func (s *FS) step(op Op, do func() error) error {
	if s.Synced != nil && (op.Kind == OpSync || op.Kind == OpSyncNamed || op.Kind == OpSyncDir) {
		defer func(start time.Time) { s.Synced(time.Since(start)) }(time.Now())
	}
	if s.owner != (Owner{}) && !op.onFile() {
		as := do
		do = func() error { return s.owner.Do(as) }
	}
	if s.tracer == nil {
		return do()
	}
	return s.tracer.Step(op, do)
}

// Answered notes in the history of a Tracer what a peer was told. It does
// nothing else.
func (s *FS) Answered(text string) {
	if s.tracer != nil {
		s.tracer.Step(Op{Kind: OpAnswer, To: text}, func() error { return nil })
	}
}
