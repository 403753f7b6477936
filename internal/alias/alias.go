// Package alias reads aliases(5) as Sendmail and Postfix have it: names of this
// host that lead to other addresses.
//
//	name: target, target ...
//
// A line that begins with white space goes on with the one before; # begins a
// comment line; names and targets may be quoted. A target is an address, a name
// of this host, :include:/path of a file with more targets, |command or /file.
//
// A File is read again when it changes. A version that cannot be understood leaves
// the aliases as they were, and Check tells of it. While there was none that could,
// or the file has gone after it was there, Lookup fails, so that mail waits instead
// of going where it should not. Of names that are there twice the first counts, as in Postfix;
// Check names the other.
package alias

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"postbag/internal/address"
)

// A Kind tells what a Target is.
type Kind int

// Kinds of targets.
const (
	Address Kind = iota
	Pipe         // a command
	Path         // a file, or a Maildir if it ends in /
)

// A Target is what an alias leads to.
type Target struct {
	Kind    Kind
	Address address.Address // of Address; its domain may be missing
	Final   bool            // written \name: an account, though there is an alias of this name
	Text    string          // of Pipe and Path
}

// A File is an aliases file. It is safe for concurrent use.
type File struct{ watched[table] }

// A table is what an aliases file holds.
type table struct {
	entries map[string][]string // name in lower case to raw targets
	twice   error               // the first name that is there twice
}

// Limits of :include: files.
const (
	maxInclude = 1 << 20 // octets of one
	maxNested  = 5       // one in another
)

// Open uses the file at path. One that is missing has no aliases.
func Open(path string) *File {
	return &File{watched[table]{path: path, what: "aliases", parse: parse}}
}

// Check reads the file and tells what is wrong with it.
func (f *File) Check() error {
	t, err := f.fresh()
	if err != nil {
		return err
	}
	if t.twice != nil {
		return t.twice
	}
	for name, raw := range t.entries {
		if _, err := expand(raw, 0); err != nil {
			return fmt.Errorf("%s: alias %s: %w", f.path, name, err)
		}
	}
	return nil
}

// Count is the number of aliases.
func (f *File) Count() int {
	t, _ := f.get()
	return len(t.entries)
}

// Owner is whose file it is: in his name commands are run and Maildirs written.
// For a file of root, and where this process is not root, nobody is named: -1.
func (f *File) Owner() (uid, gid int) {
	st, err := os.Stat(f.path)
	if err != nil || os.Geteuid() != 0 {
		return -1, -1
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 {
		return int(sys.Uid), int(sys.Gid)
	}
	return -1, -1
}

// Lookup gives the targets of a name; ok is false when it is no alias.
func (f *File) Lookup(name string) (targets []Target, ok bool, err error) {
	t, err := f.get()
	raw, ok := t.entries[strings.ToLower(name)]
	if err != nil || !ok {
		return nil, false, err
	}
	targets, err = expand(raw, 0)
	if err != nil {
		err = fmt.Errorf("%s: alias %s: %w", f.path, name, err)
	}
	return targets, true, err
}

// parse reads the text of an aliases file. Errors have file and line.
func parse(path, text string) (table, error) {
	t := table{entries: map[string][]string{}}
	for _, l := range logicalLines(text) {
		name, targets, err := parseLine(l.text)
		if err != nil {
			return table{}, fmt.Errorf("%s:%d: %w", path, l.number, err)
		}
		key := strings.ToLower(name)
		if _, there := t.entries[key]; !there {
			t.entries[key] = targets
		} else if t.twice == nil {
			t.twice = fmt.Errorf("%s:%d: alias %s is there twice", path, l.number, name)
		}
	}
	return t, nil
}

type line struct {
	number int
	text   string
}

// logicalLines joins continuation lines and drops comments.
func logicalLines(text string) []line {
	var all []line
	for i, l := range strings.Split(text, "\n") {
		l = strings.TrimRight(l, "\r \t")
		switch {
		case l == "" || strings.TrimLeft(l, " \t")[0] == '#':
		case (l[0] == ' ' || l[0] == '\t') && len(all) > 0:
			all[len(all)-1].text += " " + strings.TrimLeft(l, " \t")
		default:
			all = append(all, line{i + 1, strings.TrimLeft(l, " \t")})
		}
	}
	return all
}

// parseLine reads `name: target, target`.
func parseLine(s string) (name string, targets []string, err error) {
	name, s, err = parseName(s)
	if err != nil {
		return "", nil, err
	}
	if targets, err = split(s); err != nil {
		return "", nil, err
	}
	for _, t := range targets {
		if _, err := parseTarget(t); err != nil {
			return "", nil, err
		}
	}
	return name, targets, nil
}

// parseName takes `name:` off, which may be quoted.
func parseName(s string) (name, rest string, err error) {
	quoted, isQuoted := strings.CutPrefix(s, `"`)
	ok := true
	if isQuoted {
		if name, s, ok = strings.Cut(quoted, `"`); !ok {
			return "", "", errors.New("quote without end")
		}
		rest, ok = strings.CutPrefix(strings.TrimLeft(s, " \t"), ":")
	} else {
		name, rest, ok = strings.Cut(s, ":")
		name = strings.TrimSpace(name)
	}
	switch {
	case !ok:
		return "", "", errors.New("colon is missing")
	case name == "":
		return "", "", errors.New("name is missing")
	case !isQuoted && strings.Contains(name, "@"):
		return "", "", fmt.Errorf("alias %s has a domain: names of this host have none", name)
	}
	return name, rest, nil
}

// split takes a list apart at commas that are not quoted.
func split(s string) ([]string, error) {
	var all []string
	var b strings.Builder
	quoted := false
	flush := func() {
		if t := strings.TrimSpace(b.String()); t != "" {
			all = append(all, t)
		}
		b.Reset()
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i++
		case c == '"':
			quoted = !quoted
			b.WriteByte(c)
		case c == ',' && !quoted:
			flush()
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return nil, errors.New("quote without end")
	}
	flush()
	return all, nil
}

const include = ":include:"

// parseTarget reads one target; those of :include: are checked by expand.
func parseTarget(s string) (Target, error) {
	plain := s
	if strings.HasPrefix(s, `"`) && strings.HasSuffix(s, `"`) && len(s) > 1 {
		plain = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s[1 : len(s)-1])
	}
	switch {
	case strings.HasPrefix(plain, include):
		if path := strings.TrimSpace(plain[len(include):]); !strings.HasPrefix(path, "/") {
			return Target{}, fmt.Errorf("%s%s: the path begins with /", include, path)
		}
		return Target{Kind: Path, Text: plain}, nil
	case strings.HasPrefix(plain, "|"):
		return Target{Kind: Pipe, Text: plain[1:]}, nil
	case strings.HasPrefix(plain, "/"):
		return Target{Kind: Path, Text: plain}, nil
	}
	plain, final := strings.CutPrefix(s, `\`)
	list, err := address.ParseList(plain)
	if err != nil || len(list) != 1 {
		return Target{}, fmt.Errorf("target %q is no address", s)
	}
	return Target{Address: list[0].Address, Final: final}, nil
}

// expand turns raw targets into targets, files that are included too.
func expand(raw []string, depth int) ([]Target, error) {
	var all []Target
	for _, r := range raw {
		t, err := parseTarget(r)
		if err != nil {
			return nil, err
		}
		path, ok := strings.CutPrefix(t.Text, include)
		if !ok {
			all = append(all, t)
			continue
		}
		more, err := included(strings.TrimSpace(path), depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// included reads the addresses of an :include: file. No command and no file may
// stand there: its owner is not the owner of the aliases.
func included(path string, depth int) ([]Target, error) {
	if depth > maxNested {
		return nil, fmt.Errorf("%s: included files are nested too deep", path)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxInclude {
		return nil, fmt.Errorf("%s: no regular file of at most %d octets", path, maxInclude)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []Target
	for _, l := range logicalLines(string(text)) {
		targets, err := includedLine(l.text, depth)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, l.number, err)
		}
		all = append(all, targets...)
	}
	return all, nil
}

func includedLine(text string, depth int) ([]Target, error) {
	raw, err := split(text)
	if err != nil {
		return nil, err
	}
	targets, err := expand(raw, depth)
	for _, t := range targets {
		if err == nil && t.Kind != Address {
			err = fmt.Errorf("target %q: only addresses may stand here", t.Text)
		}
	}
	return targets, err
}
