package mboxlog

import (
	"fmt"

	"postbag/internal/durable"
)

// A Report is what Inspect found.
type Report struct {
	ID      uint64
	Frames  int
	Tail    int64 // octets behind the last sound frame: a crash may leave some
	Head    bool  // the head is sound
	Gaps    int   // places where frames are missing
	Refused error // the first record that the reader refused
}

// Inspect reads a log without changing it and gives r all that is sound up to
// limit; everything when that is negative.
func Inspect(fs *durable.FS, path string, limit int64, r Reader) (Report, error) {
	b, err := fs.ReadFile(path)
	if err != nil {
		return Report{}, fmt.Errorf("inspect %s: %w", path, err)
	}
	if limit >= 0 && limit < int64(len(b)) {
		b = b[:limit]
	}
	var rep Report
	r.Reset()
	if rep.ID, rep.Head = decodeHead(b); !rep.Head {
		rep.Tail = int64(len(b))
		return rep, nil
	}
	b, p := b[headSize:], Position{ID: rep.ID, Offset: headSize}
	for len(b) > 0 {
		at, f, ok := findFrame(b, p.ID, p.Offset)
		if !ok {
			break
		}
		if at > 0 || f.prev != p.CRC {
			rep.Gaps++
		}
		rep.Frames++
		if f.Kind >= KindUser || f.Kind == KindDamage {
			if err := r.Apply(f.Record); err != nil && rep.Refused == nil {
				rep.Refused = fmt.Errorf("record at %d: %w", p.Offset+int64(at), err)
			}
		}
		b = b[f.end.Offset-p.Offset:]
		p = f.end
	}
	rep.Tail = int64(len(b))
	return rep, nil
}
