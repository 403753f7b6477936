package recipient

import (
	"strings"

	"postbag/internal/address"
	"postbag/internal/srs"
	"postbag/internal/status"
)

// ownerPrefix makes of the name of a list that of its owner.
const ownerPrefix = "owner-"

// listOwner gives the address from which an alias sends, and to which it bounces:
// owner-NAME, if there is such an alias.
func (x *expansion) listOwner(a address.Address) (owner address.Address, ok bool, err error) {
	if len(a.Local) > len(ownerPrefix) && strings.EqualFold(a.Local[:len(ownerPrefix)], ownerPrefix) {
		return owner, false, nil
	}
	owner = address.Address{Local: ownerPrefix + a.Local, Domain: a.Domain}
	_, ok, err = x.alias(owner)
	if owner.Domain == "" {
		owner.Domain = x.ownDomain()
	}
	return owner, ok, err
}

// ownDomain is the one of names without domain.
func (x *expansion) ownDomain() string {
	if len(x.Domains) > 0 {
		return x.Domains[0]
	}
	return x.Hostname
}

// rewritten reports whether we have made an address for bounces to come back to.
func (e *Expander) rewritten(a address.Address) bool {
	return e.SRS != nil && srs.Is(a) && (e.Local(a) || address.EqualDomain(a.Domain, e.Hostname))
}

// bounce leads an address that we have made to where it comes from.
func (x *expansion) bounce(a address.Address) error {
	original, err := x.SRS.Reverse(a)
	if err != nil {
		return status.Perm("resolve "+a.String(), "5.1.1", "<"+a.String()+">: no such user here", err)
	}
	return x.add(original, 1)
}
