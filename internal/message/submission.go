package message

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"postbag/internal/address"
)

// A Submission says how to make a whole letter of what a user or a program
// submitted (RFC 6409 section 8). The zero value completes nothing that needs
// a name.
type Submission struct {
	Hostname   string          // our name, on the right of a made Message-ID
	Origin     string          // domain for addresses without one; "" leaves them
	From       address.Address // who submits: the From field when there is none
	FullName   string          // display name of a made From field
	Now        time.Time       // time of a made Date field, in its zone
	Masquerade Masquerade      // hosts that are not shown
	Bare       bool            // add no field and complete no address, only remove what must go (sendmail -G)
}

// removed are the fields that never leave a submission: Bcc tells what it must
// hide, Return-Path belongs to final delivery (RFC 5321 section 4.4), and
// Content-Length makes mbox readers cut letters.
var removed = [...]string{"Bcc", "Resent-Bcc", "Return-Path", "Content-Length"}

// Complete adds the fields that h must have, completes addresses that lack a
// domain, encodes raw UTF-8 outside addresses as RFC 2047 says, and removes
// Bcc and Return-Path. Read the recipients first. It has no error today; the
// result is there for a field that cannot be mended.
func (s Submission) Complete(h *Header) error {
	for _, name := range removed {
		h.Del(name)
	}
	h.Escape()
	for i := range h.Fields {
		h.Fields[i] = s.mend(h.Fields[i])
	}
	if s.Bare {
		return nil
	}
	prefix := ""
	if resent(h) {
		prefix = "Resent-"
	}
	s.add(h, prefix)
	return nil
}

// mend completes and encodes one field.
func (s Submission) mend(f Field) Field {
	if isAddressField(f.Name) {
		if !s.Bare {
			f = readdress(f, func(word string) string { return s.Masquerade.text(qualified(word, s.Origin)) })
		}
		return encodePhrases(f)
	}
	return encodeText(f)
}

// add gives h what RFC 5322 section 3.6 asks of every letter, or section 3.6.6
// of one that is sent again.
func (s Submission) add(h *Header, prefix string) {
	if !h.Has(prefix+"Date") && (prefix == "" || !h.Has("Resent-Date")) {
		h.Append(NewField(prefix+"Date", s.Now.Format(DateFormat)))
	}
	if !h.Has(prefix + "From") {
		h.Append(NewField(prefix+"From", s.sender()))
	}
	if !h.Has(prefix + "Message-ID") {
		h.Append(NewField(prefix+"Message-ID", s.messageID()))
	}
	if !h.Has("To") && !h.Has("Cc") && !h.Has("Resent-To") && !h.Has("Resent-Cc") {
		h.Append(NewField(prefix+"To", "undisclosed-recipients:;"))
	}
}

// sender is the mailbox of a made From field.
func (s Submission) sender() string {
	if s.From.IsNull() {
		return "MAILER-DAEMON@" + s.Hostname
	}
	if s.FullName == "" {
		return s.From.String()
	}
	return DisplayName(s.FullName) + " <" + s.From.String() + ">"
}

func (s Submission) messageID() string {
	var bits [8]byte
	_, _ = rand.Read(bits[:]) // never fails (crypto/rand)
	return "<" + s.Now.UTC().Format("20060102150405") + "." + strings.ToUpper(hex.EncodeToString(bits[:])) + "@" + s.Hostname + ">"
}

// DisplayName writes name as a phrase of RFC 5322: bare, quoted, or encoded.
func DisplayName(name string) string {
	if encoded := encodeWords(name); encoded != name {
		return encoded
	}
	for _, c := range []byte(name) {
		if !isAtomOctet(c) && c != ' ' {
			return strconv.Quote(name)
		}
	}
	return name
}

func isAtomOctet(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`()<>[]:;@\,."`, rune(c))
}

// resent reports whether h was sent again by somebody (RFC 5322 section 3.6.6).
func resent(h *Header) bool {
	for _, f := range h.Fields {
		if len(f.Name) > len("Resent-") && strings.EqualFold(f.Name[:len("Resent-")], "Resent-") {
			return true
		}
	}
	return false
}

// Recipients returns the addresses that h names as recipients: those of
// Resent-To, Resent-Cc and Resent-Bcc if h was sent again, else those of To,
// Cc and Bcc. The error says which field could not be understood; what was
// understood is returned with it.
func Recipients(h *Header) ([]address.Mailbox, error) {
	names := []string{"To", "Cc", "Bcc"}
	if h.Has("Resent-To") || h.Has("Resent-Cc") || h.Has("Resent-Bcc") {
		names = []string{"Resent-To", "Resent-Cc", "Resent-Bcc"}
	}
	var all []address.Mailbox
	var first error
	for _, name := range names {
		for _, v := range h.Values(name) {
			list, err := address.ParseList(v)
			all = append(all, list...)
			if err != nil && first == nil {
				first = &fieldError{name, err}
			}
		}
	}
	return all, first
}

type fieldError struct {
	name string
	err  error
}

func (e *fieldError) Error() string { return "header " + e.name + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }
