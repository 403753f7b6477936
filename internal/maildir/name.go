package maildir

import (
	"slices"
	"strconv"
	"strings"

	gomaildir "github.com/emersion/go-maildir"
)

// FlagLetters are the flags that maildir(5) knows, in the order of a file name:
// draft, flagged, passed, replied, seen, trashed.
const FlagLetters = string(gomaildir.FlagDraft) + string(gomaildir.FlagFlagged) + string(gomaildir.FlagPassed) +
	string(gomaildir.FlagReplied) + string(gomaildir.FlagSeen) + string(gomaildir.FlagTrashed)

// A Name is the name of a letter's file, taken apart.
type Name struct {
	Base  string // all before the colon; stays the same for the letter's life
	Info  string // all behind the first colon: "2,FS"
	Flags string // the letters of an Info that begins with "2,"; others' letters too
	Size  int64  // size of the file in octets, as the name says; -1 when it does not
	Wire  int64  // size with CRLF line ends; -1 when the name does not say
}

// SplitName gives the Base and Flags of a name, which is quicker than ParseName.
func SplitName(s string) (base, flags string) {
	base, _, flags = split(s)
	return base, flags
}

func split(s string) (base, info, flags string) {
	base, info, _ = strings.Cut(s, ":")
	if len(info) >= 2 && info[:2] == "2," {
		flags = info[2:]
	}
	return base, info, flags
}

// ParseName takes a file name apart. Every name is a Name: a letter is mail
// whatever another program has called it.
func ParseName(s string) Name {
	n := Name{Size: -1, Wire: -1}
	n.Base, n.Info, n.Flags = split(s)
	_, fields, _ := strings.Cut(n.Base, ",")
	for fields != "" {
		var field string
		field, fields, _ = strings.Cut(fields, ",")
		if size, ok := strings.CutPrefix(field, "S="); ok {
			n.Size = parseSize(size)
		} else if size, ok := strings.CutPrefix(field, "W="); ok {
			n.Wire = parseSize(size)
		}
	}
	return n
}

// parseSize gives -1 for what is no size, so that nobody believes it.
func parseSize(s string) int64 {
	size, err := strconv.ParseUint(s, 10, 62)
	if err != nil {
		return -1
	}
	return int64(size)
}

// String gives the file name again.
func (n Name) String() string {
	if n.Info == "" {
		return n.Base
	}
	return n.Base + ":" + n.Info
}

// WithFlags gives the name with these flags, in the order that maildir(5)
// demands, each once.
func (n Name) WithFlags(flags string) Name {
	letters := []byte(flags)
	slices.Sort(letters)
	n.Flags = string(slices.Compact(letters))
	n.Info = "2," + n.Flags
	return n
}
