package imapsrv

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"postbag/internal/account"
	"postbag/internal/imapwire"
)

// maxEntryName bounds the name of an entry.
const maxEntryName = 256

// checkEntry refuses what cannot be the name of an entry (RFC 5464 section 3.2).
func checkEntry(name string) error {
	parts := strings.Split(strings.ToLower(name), "/")
	switch {
	case len(name) > maxEntryName:
		return bad("name of an entry is too long")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r >= 0x7f || r == '*' || r == '%' }):
		return bad("no entry can have that name")
	case len(parts) < 3 || parts[0] != "" || parts[1] != "private" && parts[1] != "shared" || slices.Contains(parts[1:], ""):
		return bad("names of entries are /private/... and /shared/...")
	case parts[2] == "vendor" && len(parts) < 5:
		return bad("an entry of a vendor is /.../vendor/NAME/...")
	}
	return nil
}

// A metadataQuery is which entries are asked for.
type metadataQuery struct {
	depth   int   // levels below the entries
	maxSize int64 // of values; -1 for any
	entries []string
}

const infinity = 1 << 30

// doGetMetadata is GETMETADATA (RFC 5464 section 4.2). Its options come before the
// name by the grammar, and behind it by the examples.
func (s *session) doGetMetadata() (string, error) {
	q := metadataQuery{maxSize: -1}
	if err := s.sp(); err != nil {
		return "", err
	}
	if c, err := s.in.Peek(); err == nil && c == '(' {
		if err := s.readQuery(&q); err != nil {
			return "", err
		}
		if err := s.sp(); err != nil {
			return "", err
		}
	}
	name, err := s.mailboxName()
	for err == nil && !s.in.AtEnd() {
		if err = s.sp(); err == nil {
			err = s.readQuery(&q)
		}
	}
	if err == nil {
		err = s.crlf()
	}
	if err == nil && len(q.entries) == 0 {
		err = bad("which entries?")
	}
	if err != nil {
		return "", err
	}
	return s.getMetadata(s.tree.Canonical(name), q)
}

// readQuery reads an entry, or a list of entries or options: options have no
// slash.
func (s *session) readQuery(q *metadataQuery) error {
	if c, err := s.in.Peek(); err == nil && c == '(' {
		return s.in.List(func() error { return s.readQueryWord(q) })
	}
	return s.readQueryWord(q)
}

func (s *session) readQueryWord(q *metadataQuery) error {
	word, err := s.in.Astring()
	if err != nil {
		return err
	}
	if strings.HasPrefix(word, "/") {
		q.entries = append(q.entries, word)
		// A level above those that can have a value is asked for what is below it.
		return checkEntry(word + "/x/x/x")
	}
	if err := s.sp(); err != nil {
		return err
	}
	switch strings.ToUpper(word) {
	case "MAXSIZE":
		q.maxSize, err = s.in.Number()
	case "DEPTH":
		q.depth, err = s.readDepth()
	default:
		err = bad("option " + word + " is not known")
	}
	return err
}

func (s *session) readDepth() (int, error) {
	word, err := s.in.Atom()
	switch {
	case err != nil:
		return 0, err
	case word == "0" || word == "1":
		return int(word[0] - '0'), nil
	case strings.EqualFold(word, "infinity"):
		return infinity, nil
	}
	return 0, bad("DEPTH is 0, 1 or infinity")
}

func (s *session) getMetadata(name string, q metadataQuery) (string, error) {
	m, err := s.tree.Metadata(name)
	if err == nil && name != "" && q.asks(account.SpecialUse) {
		err = s.addSpecialUse(m, name)
	}
	if err != nil {
		return "", err
	}
	if longest := s.tellEntries(name, m, q); longest > 0 {
		return fmt.Sprintf("[METADATA LONGENTRIES %d] done", longest), nil
	}
	return "done", nil
}

// addSpecialUse adds what a folder is for, as LIST says it.
func (s *session) addSpecialUse(m account.Metadata, name string) error {
	f, err := s.listed(name)
	addUses(m, f)
	return err
}

func addUses(m account.Metadata, f account.Folder) {
	if len(f.SpecialUse) > 0 {
		m[account.SpecialUse] = strings.Join(f.SpecialUse, " ")
	}
}

// tellEntries writes a METADATA response. It gives the size of the largest value
// that is too large for the client.
func (s *session) tellEntries(name string, m account.Metadata, q metadataQuery) (longest int64) {
	b := []byte("* METADATA " + s.encodeName(name) + " (")
	start := len(b)
	for _, entry := range q.names(m) {
		value, there := m[strings.ToLower(entry)]
		if size := int64(len(value)); there && q.maxSize >= 0 && size > q.maxSize {
			longest = max(longest, size)
			continue
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(imapwire.AppendAstring(b, entry), ' ')
		b = appendValue(b, value, there)
	}
	if len(b) > start {
		s.line(string(b) + ")")
	}
	return longest
}

func appendValue(b []byte, value string, there bool) []byte {
	switch {
	case !there:
		return append(b, "NIL"...)
	case strings.ContainsRune(value, 0):
		return append(fmt.Appendf(b, "~{%d}\r\n", len(value)), value...) // RFC 3516: literal8
	}
	return imapwire.AppendString(b, value, false)
}

// names gives the entries to tell: those that were named, also where they are
// missing, as Dovecot does it, and what is below them.
func (q metadataQuery) names(m account.Metadata) (names []string) {
	for _, entry := range q.entries {
		low := strings.ToLower(entry)
		if _, there := m[low]; there || q.depth == 0 {
			names = append(names, entry)
		}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if rest, ok := strings.CutPrefix(name, low+"/"); ok && strings.Count(rest, "/") < q.depth {
				names = append(names, name)
			}
		}
	}
	return names
}

// asks reports whether an entry may be among those that are told.
func (q metadataQuery) asks(entry string) bool {
	return slices.Contains(q.names(account.Metadata{entry: ""}), entry) ||
		slices.ContainsFunc(q.entries, func(e string) bool { return strings.EqualFold(e, entry) })
}

// doSetMetadata is SETMETADATA (RFC 5464 section 4.3).
func (s *session) doSetMetadata() (string, error) {
	name, err := s.spName()
	if err == nil {
		err = s.sp()
	}
	set := map[string]*string{}
	if err == nil {
		err = s.in.List(func() error { return s.readEntry(set) })
	}
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	name = s.tree.Canonical(name)
	if err := s.tree.SetMetadata(s.ctx, name, set); err != nil {
		return "", err
	}
	s.tellTree(name)
	return "done", nil
}

// readEntry reads a name and its value.
func (s *session) readEntry(set map[string]*string) error {
	name, err := s.in.Astring()
	if err == nil {
		err = checkEntry(name)
	}
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return err
	}
	name = strings.ToLower(name)
	if set[name], err = s.readValue(); err == nil && name == "/shared/admin" {
		err = no("[CANNOT] that entry is not for clients to change") // section 3.2.1.1
	}
	return err
}

// readValue reads a value, nil for NIL.
func (s *session) readValue() (*string, error) {
	value, err := "", error(nil)
	switch c, perr := s.in.Peek(); {
	case perr != nil:
		return nil, perr
	case c == '{' || c == '~':
		value, err = s.readLongValue()
	case c == '"':
		value, err = s.in.String()
	default:
		word, err := s.in.Atom()
		if err == nil && !strings.EqualFold(word, "NIL") {
			err = bad("a value is a string or NIL")
		}
		return nil, err
	}
	var long *imapwire.TooLongError
	if errors.As(err, &long) || len(value) > account.MaxValue {
		err = no(fmt.Sprintf("[METADATA MAXSIZE %d] value is too long", account.MaxValue))
	}
	return &value, err
}

// readLongValue reads a literal, which may be binary.
func (s *session) readLongValue() (string, error) {
	l, err := s.in.Literal(account.MaxValue)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(&socketReader{r: l})
	return string(b), err
}

// readListMetadata reads what RETURN (METADATA ...) asks for (RFC 9590 section 3):
// entries, perhaps with options before them.
func (s *session) readListMetadata(l *listing) error {
	l.metadata = &metadataQuery{maxSize: -1}
	for len(l.metadata.entries) == 0 {
		if err := s.sp(); err != nil {
			return err
		}
		if err := s.readQuery(l.metadata); err != nil {
			return err
		}
	}
	return nil
}

// listMetadata writes the METADATA response that goes with a LIST response.
func (s *session) listMetadata(l *listing, f account.Folder) error {
	m, err := s.tree.Metadata(f.Name)
	if err != nil {
		return err
	}
	addUses(m, f)
	s.tellEntries(f.Name, m, *l.metadata)
	return nil
}
