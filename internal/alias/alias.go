// Package alias reads aliases(5) as Sendmail and Postfix have it: names of this
// host that lead to other addresses.
//
//	name: target, target ...
//
// A line that begins with white space goes on with the one before; # begins a
// comment line; names and targets may be quoted. A target is an address, a name
// of this host, :include:/path of a file with more targets, |command or /file.
//
// A File is read again when it changes. While it cannot be understood, or has
// gone after it was there, Lookup fails, so that mail waits instead of going where
// it should not. Of names that are there twice the first counts, as in Postfix;
// Check names the other.
package alias

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"postbag/internal/address"
)

// A Kind tells what a Target is.
type Kind int

// Kinds of targets.
const (
	Address Kind = iota
	Pipe         // a command, for later
	Path         // a file, for later
)

// A Target is what an alias leads to.
type Target struct {
	Kind    Kind
	Address address.Address // of Address; its domain may be missing
	Final   bool            // written \name: an account, though there is an alias of this name
	Text    string          // of Pipe and Path
}

// A File is an aliases file. It is safe for concurrent use.
type File struct {
	path string

	mu      sync.Mutex
	looked  time.Time
	mtime   time.Time
	size    int64
	entries map[string][]string // name in lower case to raw targets; nil: never read
	twice   error               // the first name that is there twice
	err     error
}

// lookEvery is how often the file is asked whether it has changed.
const lookEvery = time.Second

// maxInclude bounds what :include: files may hold.
const maxInclude = 1 << 20

// Open uses the file at path. One that is missing has no aliases.
func Open(path string) *File { return &File{path: path} }

// Check reads the file and tells what is wrong with it.
func (f *File) Check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Time{}
	f.refresh()
	if f.err != nil {
		return f.err
	}
	if f.twice != nil {
		return f.twice
	}
	for name, raw := range f.entries {
		if _, err := expand(raw); err != nil {
			return fmt.Errorf("%s: alias %s: %w", f.path, name, err)
		}
	}
	return nil
}

// Count is the number of aliases.
func (f *File) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return len(f.entries)
}

// Lookup gives the targets of a name; ok is false when it is no alias.
func (f *File) Lookup(name string) (targets []Target, ok bool, err error) {
	f.mu.Lock()
	f.refresh()
	raw, ok := f.entries[strings.ToLower(name)]
	err = f.err
	f.mu.Unlock()
	if err != nil || !ok {
		return nil, false, err
	}
	targets, err = expand(raw)
	if err != nil {
		err = fmt.Errorf("%s: alias %s: %w", f.path, name, err)
	}
	return targets, true, err
}

// refresh reads the file if it has changed.
func (f *File) refresh() {
	if f.path == "" || time.Since(f.looked) < lookEvery {
		return
	}
	f.looked = time.Now()
	st, err := os.Stat(f.path)
	if errors.Is(err, iofs.ErrNotExist) && f.entries == nil {
		f.err = nil
		return
	}
	if err == nil && st.ModTime().Equal(f.mtime) && st.Size() == f.size && f.err == nil {
		return
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(f.path)
	}
	if err != nil {
		f.err = fmt.Errorf("read aliases: %w", err)
		return
	}
	f.mtime, f.size = st.ModTime(), st.Size()
	if entries, twice, err := parse(f.path, string(text)); err != nil {
		f.err = err
	} else {
		f.entries, f.twice, f.err = entries, twice, nil
	}
}

// parse reads the text of an aliases file. Errors have file and line.
func parse(path, text string) (entries map[string][]string, twice, err error) {
	entries = map[string][]string{}
	for _, l := range logicalLines(text) {
		name, targets, err := parseLine(l.text)
		if err != nil {
			return nil, nil, fmt.Errorf("%s:%d: %w", path, l.number, err)
		}
		key := strings.ToLower(name)
		if _, there := entries[key]; !there {
			entries[key] = targets
		} else if twice == nil {
			twice = fmt.Errorf("%s:%d: alias %s is there twice", path, l.number, name)
		}
	}
	return entries, twice, nil
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

// expand turns raw targets into targets, files that are included too. These may
// not include others.
func expand(raw []string) ([]Target, error) {
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
		more, err := included(strings.TrimSpace(path))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// included reads the addresses of an :include: file. Only addresses may stand
// there: its owner is not the owner of the aliases.
func included(path string) ([]Target, error) {
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
		raw, err := split(l.text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, l.number, err)
		}
		for _, r := range raw {
			t, err := parseTarget(r)
			if err == nil && t.Kind != Address {
				err = fmt.Errorf("target %q: only addresses may stand here", r)
			}
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, l.number, err)
			}
			all = append(all, t)
		}
	}
	return all, nil
}
