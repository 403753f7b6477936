package smtpsrv

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"postbag/internal/address"
)

// badParam is the refusal of a parameter.
func badParam(code int, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: text}
}

// A param is one KEYWORD=value of MAIL or RCPT.
type param struct{ key, value string }

// splitParams cuts the words after an address. A keyword given twice has no
// meaning that both sides would agree on.
func splitParams(s string) ([]param, *smtp.SMTPError) {
	var all []param
	for _, word := range strings.Fields(s) {
		key, value, _ := strings.Cut(word, "=")
		key = strings.ToUpper(key)
		for _, p := range all {
			if p.key == key {
				return nil, badParam(501, "parameter given twice")
			}
		}
		all = append(all, param{key, value})
	}
	return all, nil
}

// options are the parameters of MAIL.
type options struct {
	smtp.MailOptions
	hold    time.Duration // HOLDFOR, RFC 4865
	until   time.Time     // HOLDUNTIL
	release string        // either as it was asked for: "for;3600", "until;2026-11-24T10:00:00Z"

	priority int // RFC 6710

	by     time.Duration // RFC 2852, with byMode
	byMode string        // "R" or "N", with "T" or without; "": no wish
}

// notBefore is when a letter that comes now may be sent; zero for at once.
func (o *options) notBefore(now time.Time) time.Time {
	if o.hold > 0 {
		return now.Add(o.hold)
	}
	return o.until
}

// deliverBy is when a letter that comes now shall be delivered; zero for whenever
// it can be.
func (o *options) deliverBy(now time.Time) time.Time {
	if o.byMode == "" {
		return time.Time{}
	}
	return now.Add(o.by)
}

// offered are the extensions with parameters that not everybody is offered.
type offered struct{ dsn, future, priority, by bool }

// mailOptions reads the parameters of MAIL. An unknown one is 555 (RFC 5321
// section 4.1.1.11).
func mailOptions(s string, of offered) (*options, *smtp.SMTPError) {
	params, err := splitParams(s)
	if err != nil {
		return nil, err
	}
	o := &options{}
	for _, p := range params {
		ok, known := true, true
		switch p.key {
		case "SIZE":
			o.Size, ok = parseSize(p.value)
		case "BODY":
			o.Body = smtp.BodyType(strings.ToUpper(p.value))
			ok = o.Body == smtp.Body7Bit || o.Body == smtp.Body8BitMIME
		case "REQUIRETLS":
			o.RequireTLS, ok = true, p.value == ""
		case "SMTPUTF8":
			o.UTF8, ok = true, p.value == ""
		case "AUTH":
			ok = setAuth(&o.MailOptions, p.value)
		case "RET":
			o.Return = smtp.DSNReturn(strings.ToUpper(p.value))
			ok, known = o.Return == smtp.DSNReturnFull || o.Return == smtp.DSNReturnHeaders, of.dsn
		case "ENVID":
			o.EnvelopeID, ok = xtext(p.value)
			ok, known = ok && isASCII(o.EnvelopeID), of.dsn // RFC 3461 section 4.4
		case "HOLDFOR":
			o.hold, ok = parseHold(p.value)
			ok, known = ok && o.release == "", of.future
			o.release = "for;" + p.value
		case "HOLDUNTIL":
			o.until, ok = parseUntil(p.value)
			ok, known = ok && o.release == "", of.future
			o.release = "until;" + p.value
		case "MT-PRIORITY":
			o.priority, ok = parsePriority(p.value)
			known = of.priority
		case "BY":
			o.by, o.byMode, ok = parseBy(p.value)
			known = of.by
		default:
			known = false
		}
		if err := judge(p, ok, known); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func judge(p param, ok, known bool) *smtp.SMTPError {
	switch {
	case !known:
		return badParam(555, "unsupported parameter "+p.key)
	case !ok:
		return badParam(501, "bad value of parameter "+p.key)
	}
	return nil
}

// parseHold reads a number of seconds, of nine digits at most (RFC 4865 section
// 3).
func parseHold(s string) (time.Duration, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return time.Duration(n) * time.Second, err == nil && n > 0 && len(s) <= 9
}

// parseUntil reads a time in UTC, as RFC 3339 has it.
func parseUntil(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, strings.ToUpper(s))
	_, offset := t.Zone()
	return t.UTC(), err == nil && offset == 0
}

// parsePriority reads -9 to 9, which has one form for each (RFC 6710 section 3).
func parsePriority(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && -9 <= n && n <= 9 && strconv.Itoa(n) == s
}

// parseBy reads seconds;mode, as "120;R" or "-60;NT" (RFC 2852 section 4). What is to
// be returned must have some time.
func parseBy(s string) (by time.Duration, mode string, ok bool) {
	text, mode, _ := strings.Cut(s, ";")
	mode = strings.ToUpper(mode)
	digits := strings.TrimLeft(text, "+-")
	n, err := strconv.ParseInt(text, 10, 64)
	ok = err == nil && len(digits) <= 9 && len(text)-len(digits) <= 1
	switch mode {
	case "R", "RT":
		ok = ok && n > 0
	case "N", "NT":
	default:
		ok = false
	}
	return time.Duration(n) * time.Second, mode, ok
}

// parseSize reads an RFC 1870 size, up to 20 digits.
func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, false
	}
	return int64(min(n, 1<<62)), true
}

func setAuth(o *smtp.MailOptions, value string) bool {
	who, ok := xtext(value)
	if who == "<>" {
		who = ""
	}
	o.Auth = &who
	return ok
}

// xtext decodes a value of RFC 3461 section 4, which must not be empty.
func xtext(s string) (string, bool) {
	text, err := address.ParseXText(s)
	return text, err == nil && s != "" && isPrintable(text)
}

// isPrintable says that text can stand in a report, on a line.
func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c > 0x7f })
}

// rcptOptions reads the parameters of RCPT.
func rcptOptions(s string, dsn bool) (*smtp.RcptOptions, *smtp.SMTPError) {
	params, err := splitParams(s)
	if err != nil {
		return nil, err
	}
	o := &smtp.RcptOptions{}
	for _, p := range params {
		ok := true
		switch p.key {
		case "NOTIFY":
			o.Notify, ok = parseNotify(p.value)
		case "ORCPT":
			ok = setOriginal(o, p.value)
		default:
			return nil, judge(p, true, false)
		}
		if err := judge(p, ok, dsn); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// parseNotify reads NOTIFY; NEVER must stand alone (RFC 3461 section 4.1).
func parseNotify(s string) ([]smtp.DSNNotify, bool) {
	var all []smtp.DSNNotify
	words := strings.Split(strings.ToUpper(s), ",")
	for _, word := range words {
		n := smtp.DSNNotify(word)
		switch n {
		case smtp.DSNNotifyNever:
			if len(words) > 1 {
				return nil, false
			}
		case smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed:
		default:
			return nil, false
		}
		all = append(all, n)
	}
	return all, true
}

// setOriginal reads ORCPT, "rfc822;ann@example.org" in xtext; what has the type utf-8
// has a form of its own, and stays in it (RFC 6533 section 3). All of it is passed on
// as it came (RFC 3461 section 5.2.1).
func setOriginal(o *smtp.RcptOptions, value string) bool {
	kind, text, _ := strings.Cut(value, ";")
	ok := text != "" && isPrintable(text) && utf8.ValidString(text) && !strings.Contains(text, "=")
	if !strings.EqualFold(kind, string(smtp.DSNAddressTypeUTF8)) {
		text, ok = xtext(text)
	}
	o.OriginalRecipientType, o.OriginalRecipient = smtp.DSNAddressType(kind), text
	return ok && isAtom(kind)
}

// isAtom says that s is the name of a type of addresses, RFC 3461 section 4.2.
func isAtom(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune("()<>@,;:\\\".[]", c)
	})
}

// notifyString is Notify as the queue keeps it.
func notifyString(o *smtp.RcptOptions) string {
	words := make([]string, len(o.Notify))
	for i, n := range o.Notify {
		words[i] = string(n)
	}
	return strings.Join(words, ",")
}

// originalString is ORCPT as the queue keeps it, decoded.
func originalString(o *smtp.RcptOptions) string {
	if o.OriginalRecipientType == "" {
		return ""
	}
	return string(o.OriginalRecipientType) + ";" + o.OriginalRecipient
}
