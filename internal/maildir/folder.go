package maildir

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/emersion/go-maildir/maildirpp"

	"postbag/internal/durable"
)

// utf7 is the base64 of modified UTF-7, RFC 3501 section 5.1.3: a comma where
// the usual alphabet has a slash, no padding.
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// EncodeFolder gives a folder's name as it stands on the disk: modified UTF-7.
// Octets that are not UTF-8 are kept, so that every name on a disk can be
// decoded and encoded to itself.
func EncodeFolder(name string) string {
	if isPlain(name) {
		return name
	}
	var b strings.Builder
	for name != "" {
		plain := plainPrefix(name)
		b.WriteString(strings.ReplaceAll(name[:plain], "&", "&-"))
		name = name[plain:]
		run := shiftedPrefix(name)
		if run > 0 {
			b.WriteString(shift(name[:run]))
			name = name[run:]
		}
	}
	return b.String()
}

func isPlain(name string) bool {
	return plainPrefix(name) == len(name) && !strings.Contains(name, "&")
}

// plainPrefix is the length of what stands for itself: printable ASCII, and
// octets that are no UTF-8.
func plainPrefix(s string) int {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if needsShift(r, n) {
			return i
		}
		i += n
	}
	return len(s)
}

func shiftedPrefix(s string) int {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !needsShift(r, n) {
			return i
		}
		i += n
	}
	return len(s)
}

func needsShift(r rune, size int) bool {
	invalid := r == utf8.RuneError && size <= 1
	return !invalid && (r < ' ' || r > '~')
}

func shift(s string) string {
	units := utf16.Encode([]rune(s))
	raw := make([]byte, 0, 2*len(units))
	for _, u := range units {
		raw = append(raw, byte(u>>8), byte(u))
	}
	return "&" + utf7.EncodeToString(raw) + "-"
}

// DecodeFolder gives the name of a folder in UTF-8. A directory that another
// program named in UTF-8, or in something that is neither, keeps its name.
func DecodeFolder(disk string) string {
	if !strings.Contains(disk, "&") {
		return disk
	}
	var b strings.Builder
	rest := disk
	for {
		before, after, found := strings.Cut(rest, "&")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		code, tail, closed := strings.Cut(after, "-")
		text, ok := unshift(code)
		if !closed || !ok {
			return disk
		}
		b.WriteString(text)
		rest = tail
	}
}

// unshift decodes what stands between & and -. ok is false for what no encoder
// writes: names that are not modified UTF-7 at all must not change.
func unshift(code string) (text string, ok bool) {
	if code == "" {
		return "&", true
	}
	raw, err := utf7.DecodeString(code)
	if err != nil || len(raw)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	text = string(utf16.Decode(units))
	return text, !strings.ContainsRune(text, utf8.RuneError)
}

// level gives a level of a name as it stands on the disk, with what a directory
// may not hold in modified UTF-7, too.
func level(name string) string {
	return strings.NewReplacer(".", "&AC4-", "/", "&AC8-").Replace(EncodeFolder(name))
}

// Join gives the directory of a folder in Maildir++ (".A.B") from the names of
// its levels, in UTF-8. No level at all is the INBOX: "".
func Join(names ...string) string {
	if len(names) == 0 {
		return ""
	}
	levels := make([]string, len(names))
	for i, name := range names {
		levels[i] = level(name)
	}
	dir, err := maildirpp.Join(levels)
	if err != nil { // a level with a dot, and there is none
		panic(err)
	}
	return dir
}

// Split takes a directory of Maildir++ apart. ok is false for what is none.
func Split(dir string) (names []string, ok bool) {
	names, err := maildirpp.Split(dir)
	if err != nil || dir == "." || dir == ".." {
		return nil, false
	}
	for i, name := range names {
		names[i] = DecodeFolder(name)
	}
	return names, true
}

// Root is the directory that the tree of a folder begins at: Maildir++ folders
// are directories beside the cur/ of a Maildir whose names begin with a dot. A
// Maildir that is itself called ~/.maildir is its own root.
func Root(fs *durable.FS, dir string) string {
	above := filepath.Dir(dir)
	if !strings.HasPrefix(filepath.Base(dir), ".") {
		return dir
	}
	if st, err := fs.Stat(filepath.Join(above, "cur")); err != nil || !st.IsDir() {
		return dir
	}
	return above
}
