package deliver

import (
	"fmt"
	"strings"

	"postbag/internal/resolve"
	"postbag/internal/smtpout"
)

// A way is what an attempt has found on its way to a host, in words for people:
//
//	mx a.example 10, b.example 20 (authentic); a.example 192.0.2.1 tls=dane:9f..: connection refused; b.example ..; TLS 1.3
type way struct{ words []string }

func (w *way) add(format string, args ...any) {
	w.words = append(w.words, fmt.Sprintf(format, args...))
}

// String gives all of it; "" when nothing was found.
func (w *way) String() string { return strings.Join(w.words, "; ") }

// exchangers notes what the DNS says of a domain.
func (w *way) exchangers(hosts []resolve.MX, authentic bool) {
	var names []string
	for _, h := range hosts {
		names = append(names, fmt.Sprintf("%s %d", h.Host, h.Preference))
	}
	text := strings.Join(names, ", ")
	if authentic {
		text += " (authentic)"
	}
	w.add("mx %s", text)
}

// policies are the words for those of smtpout.
var policies = map[smtpout.Policy]string{
	smtpout.Opportunistic: "opportunistic", smtpout.None: "none", smtpout.StartTLS: "verified", smtpout.Implicit: "implicit", smtpout.Encrypt: "encrypted",
}

// tried notes a host and what is demanded of it.
func (w *way) tried(h smtpout.Hop) {
	if h.Socket != "" {
		w.add("%s", h.Socket)
		return
	}
	words := []string{h.Host}
	for _, a := range h.Addrs {
		words = append(words, a.String())
	}
	tls := policies[h.TLS]
	if h.Proof != "" {
		tls = h.Proof
	}
	w.add("%s tls=%s", strings.Join(words, " "), tls)
}

// maxWhy bounds what is told of one host that did not take a letter, so that there is
// room for the others.
const maxWhy = 250

// failed notes why the host that was tried last did not take the letter.
func (w *way) failed(err error) {
	why := err.Error()
	w.words[len(w.words)-1] += ": " + strings.ToValidUTF8(why[:min(len(why), maxWhy)], "")
}

// secured notes what TLS there was with the host that decided.
func (w *way) secured(results []smtpout.Result) {
	if len(results) > 0 && results[0].TLS != "" {
		w.add("%s", results[0].TLS)
	}
}
