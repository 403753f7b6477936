package recipient

import (
	"errors"
	"slices"

	"postbag/internal/address"
	"postbag/internal/auth"
	"postbag/internal/route"
	"postbag/internal/status"
)

// A member is one target of an alias, a virtual address or a .forward file.
type member struct {
	address address.Address
	follow  func() error
}

// members follows all. Who is not there does not keep the letter from the others:
// it fails for that one, and whoever sent it is told, or the list's owner.
func (x *expansion) members(all []member) error {
	for _, m := range all {
		err := m.follow()
		if err == nil {
			continue
		}
		if status.ClassOf(err) != status.Permanent || errors.Is(err, errLoop) {
			return err
		}
		x.take(x.refused(m.address, err))
		x.refusal = err
	}
	return nil
}

// nobody is why the letter cannot be taken where it fails for everybody.
func (x *expansion) nobody() error {
	if slices.ContainsFunc(x.found, func(d Destination) bool { return d.Route.Kind != route.Error }) {
		return nil
	}
	return x.refusal
}

// refused is where the letter for a member leads to who is not there.
func (x *expansion) refused(a address.Address, err error) Destination {
	if a.Domain == "" {
		a.Domain = x.Hostname
	}
	_, code, text := status.Reply(err)
	if errors.Is(err, auth.ErrNoAccount) {
		text = "<" + a.String() + ">: no such user here"
	}
	return Destination{Name: "error:" + a.Canonical().String(), Address: a, UID: -1, GID: -1, Route: route.Refusal(code, text)}
}
