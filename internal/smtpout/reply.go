package smtpout

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"postbag/internal/status"
)

// A reply is what a host answers to one command (RFC 5321 section 4.2).
type reply struct {
	code  int
	lines []string // without codes
}

// Bounds on what we let a host say.
const (
	maxReplyLine  = 4 << 10
	maxReplyLines = 200
)

var (
	errReplyTooLong = errors.New("reply is too long")
	errNoReply      = errors.New("not a reply of SMTP")
)

// readReply reads one reply of one or more lines.
func readReply(br *bufio.Reader) (reply, error) {
	var r reply
	for range maxReplyLines {
		line, err := readLine(br)
		if err != nil {
			return r, err
		}
		code, more, text, err := parseReplyLine(line)
		if err != nil {
			return r, err
		}
		// All lines should have the same code (RFC 5321 section 4.2.1). Of hosts
		// that do not know, the last one counts, as in Postfix.
		r.code, r.lines = code, append(r.lines, printable(text))
		if !more {
			return r, nil
		}
	}
	return r, errReplyTooLong
}

func readLine(br *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > maxReplyLine {
			return "", errReplyTooLong
		}
		line = append(line, part...)
		if err == nil {
			return strings.TrimRight(string(line), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
}

// printable makes a host's words safe for logs, reports and terminals.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s)
}

// parseReplyLine takes "250-text" and "250 text"; a code alone is a last line.
func parseReplyLine(line string) (code int, more bool, text string, err error) {
	if len(line) < 3 {
		return 0, false, "", fmt.Errorf("%w: %q", errNoReply, line)
	}
	code, err = strconv.Atoi(line[:3])
	if err != nil || code < 200 || code > 599 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, "", fmt.Errorf("%w: %q", errNoReply, line[:min(len(line), 80)])
	}
	if len(line) == 3 {
		return code, false, "", nil
	}
	return code, line[3] == '-', line[4:], nil
}

func (r reply) ok() bool { return r.code/100 == 2 }

// text is the reply in one line, with its code.
func (r reply) text() string {
	return strings.TrimSpace(strconv.Itoa(r.code) + " " + strings.Join(r.lines, " "))
}

// enhanced finds the enhanced status code (RFC 2034); it must be of the class of
// the reply, else the reply counts.
func (r reply) enhanced(class byte) string {
	if len(r.lines) > 0 {
		word, _, _ := strings.Cut(r.lines[0], " ")
		if isEnhanced(word) && word[0] == class {
			return word
		}
	}
	return string(class) + ".0.0"
}

func isEnhanced(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 {
		return false
	}
	for _, p := range parts {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 999 || len(p) > 3 {
			return false
		}
	}
	return true
}

// refusal is the failure that a reply which is no success stands for. Only 5xx
// stays; every other surprise is temporary.
func (r reply) refusal(op string) error {
	if r.code/100 == 5 {
		return &status.Error{Op: op, Class: status.Permanent, Code: r.enhanced('5'), Reply: r.code, Text: r.text()}
	}
	e := &status.Error{Op: op, Class: status.Temporary, Code: r.enhanced('4'), Text: r.text()}
	if r.code/100 == 4 {
		e.Reply = r.code
	}
	return e
}
