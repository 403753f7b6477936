// Package srs rewrites the reverse-path of letters that are forwarded (Sender
// Rewriting Scheme), so that the next host finds it to be ours, as SPF wants (RFC
// 7208 appendix D.3), and a bounce finds its way back.
//
//	ann@far.example              SRS0=HASH=DAY=far.example=ann@here.example
//	SRS0=rest@other.example      SRS1=HASH=other.example=rest@here.example
//	SRS1=h=first.example=rest@.. SRS1=HASH=first.example=rest@here.example
//
// HASH is made with a key, so that nobody can have us send mail to where he likes;
// DAY says when, and an address is good for three weeks. Hash and day have no
// case: other hosts may change it.
package srs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"postbag/internal/address"
)

// A Rewriter rewrites and takes back. Its fields must not change in use.
type Rewriter struct {
	Keys [][]byte         // the first makes hashes, all check them
	Now  func() time.Time // nil: time.Now
}

const (
	hashChars = 6  // of 5 bits each
	days      = 21 // that an address is good for
	// maxLocal is what every host takes (RFC 5321 section 4.5.3.1.1). What would
	// be longer is not rewritten.
	maxLocal = 64
)

// Errors of Reverse.
var (
	ErrForged = errors.New("srs: hash is wrong")
	ErrOld    = errors.New("srs: address has run out")
)

const digits = "abcdefghijklmnopqrstuvwxyz234567"

var alphabet = base32.NewEncoding(digits)

// Is reports whether an address is one that was rewritten, here or elsewhere.
func Is(a address.Address) bool {
	tag, _ := cutTag(a.Local)
	return tag != ""
}

// cutTag takes "SRS0=" or "SRS1=" off; other hosts write - or + for the first =.
func cutTag(local string) (tag, rest string) {
	if len(local) < 5 || !strings.ContainsRune("=-+", rune(local[4])) {
		return "", local
	}
	switch t := strings.ToUpper(local[:4]); t {
	case "SRS0", "SRS1":
		return t, local[5:]
	}
	return "", local
}

// Forward gives the reverse-path under which a letter from somebody is sent on
// by domain. The null one, and what would be too long, stay as they are.
func (r *Rewriter) Forward(from address.Address, domain string) address.Address {
	if from.IsNull() {
		return from
	}
	local := r.forward(from)
	if len(local) > maxLocal {
		return from
	}
	return address.Address{Local: local, Domain: domain}
}

func (r *Rewriter) forward(from address.Address) string {
	switch tag, rest := cutTag(from.Local); tag {
	case "SRS0":
		return r.again(address.DomainUnicode(from.Domain) + "=" + from.Local[4:])
	case "SRS1":
		_, rest, _ = strings.Cut(rest, "=")
		if first, inner, ok := strings.Cut(rest, "="); ok && first != "" && inner != "" {
			return r.again(rest)
		}
	}
	rest := r.day() + "=" + address.DomainUnicode(from.Domain) + "=" + from.Local
	return "SRS0=" + hash(r.Keys[0], rest) + "=" + rest
}

// again is for what others have rewritten: it goes back to the first of them.
func (r *Rewriter) again(rest string) string { return "SRS1=" + hash(r.Keys[0], rest) + "=" + rest }

// Reverse gives the address that a bounce is for.
func (r *Rewriter) Reverse(a address.Address) (address.Address, error) {
	tag, rest := cutTag(a.Local)
	sum, rest, ok := strings.Cut(rest, "=")
	if tag == "" || !ok || !r.signed(sum, rest) {
		return address.Address{}, ErrForged
	}
	if tag == "SRS1" {
		domain, inner, ok := strings.Cut(rest, "=")
		if !ok || inner == "" {
			return address.Address{}, ErrForged
		}
		return address.Address{Local: "SRS0" + inner, Domain: domain}, nil
	}
	day, rest, _ := strings.Cut(rest, "=")
	domain, local, ok := strings.Cut(rest, "=")
	if !ok || local == "" {
		return address.Address{}, ErrForged
	}
	if !r.fresh(day) {
		return address.Address{}, ErrOld
	}
	return address.Address{Local: local, Domain: domain}, nil
}

// hash covers all that it stands before, without regard to case.
func hash(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.ToLower(text)))
	return alphabet.EncodeToString(mac.Sum(nil))[:hashChars]
}

func (r *Rewriter) signed(sum, text string) bool {
	for _, key := range r.Keys {
		if hmac.Equal([]byte(hash(key, text)), []byte(strings.ToLower(sum))) {
			return true
		}
	}
	return false
}

const dayBits = 10 // of a day number

func (r *Rewriter) today() int {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	return int(now().Unix()/(24*60*60)) & (1<<dayBits - 1)
}

func (r *Rewriter) day() string {
	n := r.today()
	return string([]byte{digits[n>>5], digits[n&31]})
}

func (r *Rewriter) fresh(day string) bool {
	if len(day) != 2 {
		return false
	}
	day = strings.ToLower(day)
	high, low := strings.IndexByte(digits, day[0]), strings.IndexByte(digits, day[1])
	if high < 0 || low < 0 {
		return false
	}
	age := (r.today() - (high<<5 | low)) & (1<<dayBits - 1)
	return age <= days
}
