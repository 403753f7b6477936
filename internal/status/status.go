// Package status says how an operation ended: for good or only for now, with
// which enhanced status code of RFC 3463, what a peer may be told of it, and
// with which code of sysexits(3) a program ends.
//
// What nobody has classified is temporary. So a mistake of ours delays mail and
// never bounces it.
//
// What peers are told (Reply) and what is logged (Error) are separate: a reply
// never holds paths or the text of an error of this host.
package status

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
)

// A Class tells whether trying again can help.
type Class int

// The zero Class is Temporary.
const (
	Temporary Class = iota
	Permanent
)

// String is "temporary" or "permanent".
func (c Class) String() string {
	if c == Permanent {
		return "permanent"
	}
	return "temporary"
}

// An Error is an outcome with what programs and peers need to know of it.
// Fields that are zero are derived from the others.
type Error struct {
	Op    string // operation and object: "deliver 12AB to ann@example.org"
	Class Class
	Code  string // enhanced status code, RFC 3463
	Reply int    // code of the SMTP reply
	Text  string // what a peer may be told: one line
	Exit  int    // code of sysexits(3)
	Err   error  // cause; nil when Text says it all
}

// Temp is a failure that may pass.
func Temp(op, code, text string, err error) error {
	return &Error{Op: op, Class: Temporary, Code: code, Text: text, Err: err}
}

// Perm is a failure that stays.
func Perm(op, code, text string, err error) error {
	return &Error{Op: op, Class: Permanent, Code: code, Text: text, Err: err}
}

// Exit is a failure that ends a program with a code of sysexits(3).
func Exit(code int, op string, err error) error {
	class := Permanent
	if code == ExTempFail || code == ExIOErr || code == ExOSErr {
		class = Temporary
	}
	return &Error{Op: op, Class: class, Exit: code, Err: err}
}

// Error is "op: cause", with what the peer is told when there is no cause. What
// one of them says the others do not repeat.
func (e *Error) Error() string {
	cause := e.cause()
	switch {
	case e.Op == "" && cause == "":
		return e.Class.String() + " failure"
	case cause == "":
		return e.Op
	case e.Op == "" || strings.HasPrefix(cause, e.Op+": "):
		return cause
	}
	return e.Op + ": " + cause
}

func (e *Error) cause() string {
	if e.Err == nil {
		return e.Text
	}
	switch cause := e.Err.Error(); {
	case strings.Contains(cause, e.Text):
		return cause
	case strings.Contains(e.Text, cause):
		return e.Text
	default:
		return e.Text + ": " + cause
	}
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf tells whether err stays. Only an Error that says so is permanent; of
// several joined errors one that is temporary makes all of them so, for trying
// again may still help.
func ClassOf(err error) Class {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return classOfAll(several.Unwrap())
	}
	if e, ok := err.(*Error); ok {
		return e.Class
	}
	if inner := errors.Unwrap(err); inner != nil {
		return ClassOf(inner)
	}
	return Temporary
}

func classOfAll(errs []error) Class {
	for _, err := range errs {
		if ClassOf(err) == Temporary {
			return Temporary
		}
	}
	return Permanent
}

// Code is the enhanced status code of err, always of its class: RFC 3463
// section 2 has the first digit for the class.
func Code(err error) string {
	class := byte('4')
	if ClassOf(err) == Permanent {
		class = '5'
	}
	if noSpace(err) {
		return string(class) + ".3.1" // RFC 3463 section 3.4: mail system full
	}
	var e *Error
	if errors.As(err, &e) && len(e.Code) >= 5 {
		return string(class) + e.Code[1:]
	}
	return string(class) + ".3.0"
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Reply is what an SMTP peer is told: code, enhanced status code, and one line
// of text.
func Reply(err error) (code int, enhanced, text string) {
	enhanced = Code(err)
	if noSpace(err) && ClassOf(err) == Temporary {
		return 452, enhanced, "insufficient system storage" // RFC 5321 section 4.2.3
	}
	var e *Error
	if !errors.As(err, &e) {
		return 451, enhanced, "local error, try again later"
	}
	return replyCode(e, err), enhanced, replyText(e, err)
}

// replyCode keeps the code of the Error if it is of the right class.
func replyCode(e *Error, err error) int {
	permanent := ClassOf(err) == Permanent
	switch {
	case e.Reply/100 == 5 && permanent, e.Reply/100 == 4 && !permanent:
		return e.Reply
	case permanent:
		return 550
	}
	return 451
}

func replyText(e *Error, err error) string {
	switch {
	case e.Text != "":
		return oneLine(e.Text)
	case ClassOf(err) == Permanent:
		return "not possible"
	}
	return "local error, try again later"
}

// Diagnostic is a reply as it stands in reports and log lines:
// "550 5.1.1 no such user".
func Diagnostic(err error) string {
	code, enhanced, text := Reply(err)
	return strconv.Itoa(code) + " " + enhanced + " " + text
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
