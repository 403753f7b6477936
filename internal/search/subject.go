package search

import "strings"

// maxSubject bounds how much of a subject is looked at.
const maxSubject = 2000

// BaseSubject takes a decoded subject down to what letters of one conversation
// share (RFC 5256 section 2.1). It reports whether the subject is that of a reply
// or of a forwarded letter.
func BaseSubject(s string) (base string, reply bool) {
	s = s[:min(len(s), maxSubject)]
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }), " ")
	for {
		before := s
		for {
			cut, ok := cutFold(s, "(fwd)")
			if !ok {
				break
			}
			s, reply = strings.TrimRight(cut, " "), true
		}
		s = trimLeaders(s, &reply)
		if inner, ok := forwarded(s); ok {
			s, reply = inner, true
			continue
		}
		if s == before || s == "" {
			return s, reply
		}
	}
}

// cutFold cuts a suffix off, in whatever case.
func cutFold(s, suffix string) (string, bool) {
	at := len(s) - len(suffix)
	if at < 0 || !strings.EqualFold(s[at:], suffix) {
		return s, false
	}
	return s[:at], true
}

// forwarded takes what "[fwd: ...]" is around.
func forwarded(s string) (string, bool) {
	const begin = "[fwd:"
	if len(s) <= len(begin) || !strings.EqualFold(s[:len(begin)], begin) || s[len(s)-1] != ']' {
		return s, false
	}
	return strings.TrimSpace(s[len(begin) : len(s)-1]), true
}

// trimLeaders takes "Re:", "Fwd: [list]" and the like off the beginning, and
// blobs as long as something is left after them.
func trimLeaders(s string, reply *bool) string {
	for {
		s = strings.TrimLeft(s, " ")
		if rest, ok := leader(s); ok {
			s, *reply = rest, true
			continue
		}
		rest, ok := blob(s)
		if !ok || rest == "" {
			return s
		}
		s = rest
	}
}

// leader takes one subj-refwd, with blobs before it.
func leader(s string) (rest string, ok bool) {
	for {
		after, is := blob(s)
		if !is {
			break
		}
		s = after
	}
	for _, word := range []string{"re", "fwd", "fw"} {
		if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
			continue
		}
		after := strings.TrimLeft(s[len(word):], " ")
		if b, is := blob(after); is {
			after = b
		}
		if strings.HasPrefix(after, ":") {
			return after[1:], true
		}
	}
	return s, false
}

// blob takes "[...]" and the blanks after it.
func blob(s string) (rest string, ok bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] == '[' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}
