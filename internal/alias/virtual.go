package alias

import (
	"errors"
	"fmt"
	"strings"

	"postbag/internal/address"
)

// A Virtual is a file of virtual(5) as Postfix has it: addresses of any domain that
// lead to others.
//
//	user@domain   address, address ...
//	@domain       address, address ...   all others of the domain
//	domain        anything               the domain is ours, and has only these
//
// An address beats its form without subaddress, and that the @domain. A target
// @domain keeps the local part. An address that leads to itself, among others,
// goes on as it is. It is safe for concurrent use.
type Virtual struct{ watched[virtualTable] }

type virtualTable struct {
	addresses map[string][]address.Address // by Key
	catchAll  map[string][]address.Address // by domain
	domains   map[string]bool
}

// OpenVirtual uses the file at path.
func OpenVirtual(path string) *Virtual {
	return &Virtual{watched[virtualTable]{path: path, what: "virtual addresses", parse: parseVirtual}}
}

// Check reads the file and tells what is wrong with it.
func (v *Virtual) Check() error {
	_, err := v.fresh()
	return err
}

// Domain reports whether a domain is one of the file.
func (v *Virtual) Domain(domain string) bool {
	t, _ := v.get()
	return t.domains[address.DomainUnicode(domain)]
}

// Lookup gives the targets of an address; delims separate a subaddress.
func (v *Virtual) Lookup(a address.Address, delims string) (targets []address.Address, ok bool, err error) {
	t, err := v.get()
	if err != nil {
		return nil, false, err
	}
	base, _ := a.Split(delims)
	for _, form := range []address.Address{a, base} {
		if targets, ok = t.addresses[form.Key()]; ok {
			return fill(targets, a), true, nil
		}
	}
	targets, ok = t.catchAll[address.DomainUnicode(a.Domain)]
	return fill(targets, a), ok, nil
}

// fill completes targets that are only a domain.
func fill(targets []address.Address, a address.Address) []address.Address {
	all := make([]address.Address, len(targets))
	for i, t := range targets {
		if all[i] = t; t.Local == "" {
			all[i].Local = a.Local
		}
	}
	return all
}

func parseVirtual(path, text string) (virtualTable, error) {
	t := virtualTable{map[string][]address.Address{}, map[string][]address.Address{}, map[string]bool{}}
	for _, l := range logicalLines(text) {
		if err := t.add(l.text); err != nil {
			return virtualTable{}, fmt.Errorf("%s:%d: %w", path, l.number, err)
		}
	}
	return t, nil
}

func (t *virtualTable) add(s string) error {
	at := strings.IndexAny(s, " \t")
	if at < 0 {
		return errors.New("is not ADDRESS TARGETS")
	}
	pattern, rest := s[:at], strings.TrimSpace(s[at:])
	if !strings.Contains(pattern, "@") {
		domain, err := address.DomainASCII(pattern)
		t.domains[address.DomainUnicode(domain)] = true
		return err
	}
	targets, err := virtualTargets(rest)
	if err != nil {
		return err
	}
	if domain, all := strings.CutPrefix(pattern, "@"); all {
		_, err := address.DomainASCII(domain)
		return put(t.catchAll, address.DomainUnicode(domain), pattern, targets, err)
	}
	a, err := address.Parse(pattern)
	return put(t.addresses, a.Key(), pattern, targets, err)
}

func put(into map[string][]address.Address, key, pattern string, targets []address.Address, err error) error {
	if err != nil {
		return fmt.Errorf("address %q: %w", pattern, err)
	}
	if _, twice := into[key]; twice {
		return fmt.Errorf("address %s is there twice", pattern)
	}
	into[key] = targets
	return nil
}

// virtualTargets reads addresses and @domains.
func virtualTargets(s string) ([]address.Address, error) {
	raw, err := split(s)
	if err != nil {
		return nil, err
	}
	var all []address.Address
	for _, r := range raw {
		if domain, ok := strings.CutPrefix(r, "@"); ok {
			if _, err := address.DomainASCII(domain); err != nil {
				return nil, fmt.Errorf("target %q is no domain", r)
			}
			all = append(all, address.Address{Domain: domain})
			continue
		}
		t, err := parseTarget(r)
		if err != nil || t.Kind != Address {
			return nil, fmt.Errorf("target %q is no address", r)
		}
		all = append(all, t.Address)
	}
	if len(all) == 0 {
		return nil, errors.New("targets are missing")
	}
	return all, nil
}
