package alias

import (
	"fmt"
	"strings"

	"postbag/internal/address"
)

// A Set is a file of addresses that there are: one a line, @domain for all of a
// domain; what follows it is passed over, so that tables of Postfix can be used.
// It is safe for concurrent use.
type Set struct{ watched[map[string]bool] }

// OpenSet uses the file at path.
func OpenSet(path string) *Set {
	return &Set{watched[map[string]bool]{path: path, what: "relay recipients", parse: parseSet}}
}

// Check reads the file and tells what is wrong with it.
func (s *Set) Check() error {
	_, err := s.fresh()
	return err
}

// Has reports whether an address is in the file, by itself, without its
// subaddress, or by its domain.
func (s *Set) Has(a address.Address, delims string) (bool, error) {
	all, err := s.get()
	base, _ := a.Split(delims)
	return all[a.Key()] || all[base.Key()] || all["@"+address.DomainUnicode(a.Domain)], err
}

func parseSet(path, text string) (map[string]bool, error) {
	all := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		key, err := setKey(words[0])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %q: %w", path, i+1, words[0], err)
		}
		all[key] = true
	}
	return all, nil
}

func setKey(s string) (string, error) {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		_, err := address.DomainASCII(domain)
		return "@" + address.DomainUnicode(domain), err
	}
	a, err := address.Parse(s)
	return a.Key(), err
}
