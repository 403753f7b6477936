package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"postbag/internal/address"
	"postbag/internal/smtpsrv"
	"postbag/internal/status"
)

// senders judges reverse-paths as the settings have it.
func (h *host) senders() (smtpsrv.Senders, error) {
	s := smtpsrv.Senders{Domain: h.senderDomain, Free: h.free, MinFree: h.Values.Size("min-free")}
	path := h.Values.String("sender-login")
	if path == "" {
		return s, nil
	}
	owners, err := readOwners(path)
	if err != nil {
		return s, err
	}
	s.Owns = func(login string, from address.Address) bool {
		base, _ := from.Split(h.Values.String("recipient-delimiter"))
		own := h.Local(from) && (strings.EqualFold(base.Local, login) || strings.EqualFold(base.String(), login))
		return own || owners.has(from.Key(), login) || owners.has("@"+address.DomainUnicode(from.Domain), login)
	}
	return s, nil
}

// free is what the disk of the spool has for everybody.
func (h *host) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(h.Spool.Dir(), &st); err != nil {
		return 0, fmt.Errorf("look at disk: %w", err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// senderTimeout bounds the look-ups for one MAIL.
const senderTimeout = 20 * time.Second

// senderDomain refuses senders who could not be answered: their domain takes no
// mail (RFC 7505 section 4.2), or there is none.
func (h *host) senderDomain(ctx context.Context, domain string) error {
	ctx, cancel := context.WithTimeout(ctx, senderTimeout)
	defer cancel()
	hosts, _, err := h.resolver.MX(ctx, domain)
	if ascii, aerr := address.DomainASCII(domain); err == nil && aerr == nil && len(hosts) == 1 && hosts[0].Host == ascii {
		_, _, err = h.resolver.Addrs(ctx, ascii) // no MX: its address counts
	}
	if err == nil || status.ClassOf(err) == status.Temporary {
		return err
	}
	e := &status.Error{Op: "look up sender's domain", Class: status.Permanent, Code: "5.1.8", Reply: 550, Text: "sender domain " + domain + " not found", Err: err}
	if _, code, _ := status.Reply(err); code == "5.1.10" {
		e.Code, e.Text = "5.7.27", "sender domain "+domain+" takes no mail"
	}
	return e
}

// owners are the logins that may write as an address, or as @domain.
type owners map[string][]string

func (o owners) has(key, login string) bool {
	return slices.ContainsFunc(o[key], func(l string) bool { return strings.EqualFold(l, login) })
}

// readOwners reads lines of an address or @domain and logins, as Postfix has them
// in its sender login maps.
func readOwners(path string) (owners, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read sender logins: %w", err)
	}
	all := owners{}
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' || r == '\r' })
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		key, err := ownerKey(words[0])
		if err == nil && len(words) == 1 {
			err = fmt.Errorf("no login may use it")
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", path, i+1, words[0], err)
		}
		all[key] = append(all[key], words[1:]...)
	}
	return all, nil
}

func ownerKey(s string) (string, error) {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		_, err := address.DomainASCII(domain)
		return "@" + address.DomainUnicode(domain), err
	}
	a, err := address.Parse(s)
	return a.Key(), err
}
