package mailbox

import (
	"encoding/base32"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"postbag/internal/maildir"
)

// Flags are the system flags of a letter, as its file name carries them. Inside
// this package the bits above them are the letters a to z, which stand for
// keywords in a folder that came from Dovecot (keywords.go).
type Flags uint32

// The flags, in the order of their letters in a file name (D F P R S T).
const (
	Draft    Flags = 1 << iota // D
	Flagged                    // F
	Passed                     // P: forwarded; $Forwarded to IMAP clients
	Answered                   // R
	Seen                       // S
	Deleted                    // T
)

const (
	flagLetters = maildir.FlagLetters + "abcdefghijklmnopqrstuvwxyz"
	system      = Deleted<<1 - 1 // the system flags
	firstKey    = Deleted << 1   // the letter a
)

// parseFlags gives the flags that the letters of a file name stand for; other
// letters are ignored.
func parseFlags(letters string) Flags {
	var f Flags
	for i := range len(letters) {
		if at := strings.IndexByte(flagLetters, letters[i]); at >= 0 {
			f |= 1 << at
		}
	}
	return f
}

// String gives the flags as the letters of a file name, in ASCII order.
func (f Flags) String() string { return string(f.append(nil)) }

func (f Flags) append(b []byte) []byte {
	for i := range len(flagLetters) {
		if f&(1<<i) != 0 {
			b = append(b, flagLetters[i])
		}
	}
	return b
}

// A Letter is one letter of a View. It is a copy: it does not change when the
// folder does.
type Letter struct {
	UID      uint32
	ModSeq   uint64
	Flags    Flags
	Keywords []string // sorted; shared, not to be changed

	id    uint64
	saved uint32
}

// Saved is the SAVEDATE of the letter (RFC 8514): when it came into this
// folder; false when that is not known.
func (l *Letter) Saved() (time.Time, bool) {
	return time.Unix(int64(l.saved), 0), l.saved > 0
}

// EmailID is the OBJECTID of the letter (RFC 8474 section 5.1). It goes with
// the letter through COPY and MOVE.
func (l *Letter) EmailID() string { return "M" + objectID(l.id) }

// objectID writes 64 random bits in the alphabet of RFC 8474 section 4.
func objectID(id uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], id)
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// A FlagChange says what Store does to a letter: Clear, then Set; with Replace,
// Set and SetKeywords are all that remains.
type FlagChange struct {
	Set, Clear                 Flags
	SetKeywords, ClearKeywords []string
	Replace                    bool
}

// flags gives what the change makes of f.
func (c *FlagChange) flags(f Flags) Flags {
	if c.Replace {
		return c.Set
	}
	return f&^c.Clear | c.Set
}

// keywords gives what the change makes of the sorted list k.
func (c *FlagChange) keywords(k []string) []string {
	if !c.Replace && len(c.SetKeywords) == 0 && len(c.ClearKeywords) == 0 {
		return k
	}
	var out []string
	if !c.Replace {
		out = slices.DeleteFunc(slices.Clone(k), func(s string) bool { return slices.Contains(c.ClearKeywords, s) })
	}
	out = append(out, c.SetKeywords...)
	slices.Sort(out)
	return slices.Compact(out)
}
