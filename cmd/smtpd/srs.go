package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"

	"postbag/internal/address"
	"postbag/internal/config"
	"postbag/internal/srs"
)

// minSecret is the least length of a secret for reverse-paths.
const minSecret = 16

// rewriter makes reverse-paths for what aliases send on, with the secrets of a
// file or, without one, with that of the spool. nil: nothing is rewritten.
func rewriter(v *config.Values, spoolKey []byte) (*srs.Rewriter, error) {
	if v.String("srs") == "off" {
		return nil, nil
	}
	path := v.String("srs-secret-file")
	if path == "" {
		mac := hmac.New(sha256.New, spoolKey)
		mac.Write([]byte("srs"))
		return &srs.Rewriter{Keys: [][]byte{mac.Sum(nil)}}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &srs.Rewriter{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case len(line) < minSecret:
			return nil, fmt.Errorf("%s:%d: a secret has at least %d octets", path, i+1, minSecret)
		default:
			r.Keys = append(r.Keys, []byte(line))
		}
	}
	if len(r.Keys) == 0 {
		return nil, fmt.Errorf("%s: no secret", path)
	}
	return r, nil
}

// forward gives the reverse-path of what a domain of ours sends on: ours for a
// stranger's, so that the next host finds that we may use it.
func (h *host) forward(from address.Address, domain string) address.Address {
	e := h.expander.Get()
	if e.SRS == nil || e.Local(from) || e.Relay(from) {
		return from
	}
	return e.SRS.Forward(from, domain)
}
