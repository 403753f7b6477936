package imapsrv

import "strings"

// An item is one thing that FETCH was asked for.
type item struct {
	name    string // FLAGS, UID, ENVELOPE ...; BODY[ and BINARY[ for sections
	section section
	peek    bool
}

// macros are short names of lists (RFC 9051 section 6.4.5).
var macros = map[string][]string{
	"ALL":  {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"},
	"FAST": {"FLAGS", "INTERNALDATE", "RFC822.SIZE"},
	"FULL": {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"},
}

// withItem adds an item that the client did not name, but is to be told.
func withItem(items []item, name string) []item {
	for _, it := range items {
		if it.name == name {
			return items
		}
	}
	return append([]item{{name: name}}, items...)
}

// fetchItems reads a macro, an item, or a list of them.
func (s *session) fetchItems() ([]item, error) {
	var items []item
	if c, err := s.in.Peek(); err == nil && c == '(' {
		err := s.in.Members(func() error {
			it, err := s.listedItem()
			items = append(items, it)
			return err
		})
		return items, err
	}
	it, err := s.fetchItem()
	if err != nil {
		return nil, err
	}
	for _, n := range macros[it.name] {
		items = append(items, item{name: n})
	}
	if items == nil {
		items = []item{it}
	}
	return items, nil
}

// listedItem reads one item of a list, in which macros have no place (RFC 9051
// section 6.4.5).
func (s *session) listedItem() (item, error) {
	it, err := s.fetchItem()
	if err == nil && macros[it.name] != nil {
		err = bad(it.name + " stands alone")
	}
	return it, err
}

// plainItems are those without a section.
const plainItems = " FLAGS UID ENVELOPE BODYSTRUCTURE BODY INTERNALDATE RFC822.SIZE RFC822 RFC822.HEADER RFC822.TEXT MODSEQ EMAILID THREADID SAVEDATE PREVIEW "

// fetchItem reads one item.
func (s *session) fetchItem() (item, error) {
	word, err := s.itemName()
	if err != nil {
		return item{}, err
	}
	it := item{name: word}
	if base, ok := strings.CutSuffix(word, ".PEEK"); ok {
		it.name, it.peek = base, true
	}
	sectioned := it.name == "BODY" || it.name == "BINARY" || it.name == "BINARY.SIZE"
	if sectioned && s.in.Accept('[') {
		it.name += "["
		it.peek = it.peek || it.name == "BINARY.SIZE["
		it.section, err = s.readSection(it.name)
		return it, err
	}
	if it.peek || !strings.Contains(plainItems, " "+it.name+" ") && macros[it.name] == nil {
		return item{}, bad("FETCH has no item " + word)
	}
	if it.name == "PREVIEW" {
		// Whether a preview is worth an effort (RFC 8970 section 4): here it always is.
		if _, err := s.in.AcceptAll(" (LAZY)"); err != nil {
			return item{}, err
		}
	}
	return rfc822(it), nil
}

// maxItemName bounds the name of an item or section: it has room for maxPath parts
// of up to three digits.
const maxItemName = 4*maxPath + 40

// itemName reads letters, digits and dots.
func (s *session) itemName() (string, error) {
	var b strings.Builder
	for {
		c, err := s.in.Peek()
		if err != nil {
			return "", err
		}
		if c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return strings.ToUpper(b.String()), nil
		}
		s.in.Accept(c)
		b.WriteByte(c)
		if b.Len() > maxItemName {
			return "", bad("name of an item is too long")
		}
	}
}

// rfc822 are old names of sections, which keep their names in the response.
func rfc822(it item) item {
	switch it.name {
	case "RFC822":
		it.section = section{size: -1}
	case "RFC822.HEADER":
		it.section, it.peek = section{text: "HEADER", size: -1}, true
	case "RFC822.TEXT":
		it.section = section{text: "TEXT", size: -1}
	}
	return it
}

// isText tells whether an item gives parts of the letter's text.
func (it item) isText() bool {
	switch it.name {
	case "BODY[", "BINARY[", "RFC822", "RFC822.HEADER", "RFC822.TEXT":
		return true
	}
	return false
}
