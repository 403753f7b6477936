// Package uidlist reads and writes the files in which other servers keep the
// UIDs of a Maildir's letters: Dovecot's dovecot-uidlist, in its versions 1 and
// 3, and Courier's courierimapuiddb, which is version 1.
//
//	3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1
//	25006 S1355 W1394 P1f0b :1276528487.M364837P9451.kurkku,S=1355,W=1394
//
// V is UIDVALIDITY, N the next UID, G the id of the mailbox. A record has the
// UID, sizes (S, W), the unique-id and the order in POP3 (P, O), the id of the
// letter (G), and the name of the file, of which what stands before the first
// comma or colon counts. Records are appended; then N is too small and the last
// record tells. In version 1 the header is `1 VALIDITY NEXT`, a record `UID
// NAME`.
//
// Whoever changes Dovecot's file holds its dot lock, NAME.lock.
package uidlist

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Names of the files, beside new/ and cur/.
const (
	Dovecot = "dovecot-uidlist"
	Courier = "courierimapuiddb"
)

// A List is what a file says.
type List struct {
	Validity uint32
	Next     uint32   // above every UID given
	GUID     string   // of the mailbox, 32 hexadecimal digits; "" when the file has none
	Records  []Record // ascending
}

// A Record is a letter.
type Record struct {
	UID    uint32
	Fields []string // as they stand in the file: "S1355", "P1f0b"
	Name   string
}

// UIDL is the unique-id that the letter has in POP3, when it is not made of the
// UID (RFC 1939 section 7: 1 to 70 printable characters); else "".
func (r *Record) UIDL() string {
	for _, f := range r.Fields {
		if id := f[1:]; f[0] == 'P' && id != "" && len(id) <= 70 && !strings.ContainsFunc(id, unprintable) {
			return id
		}
	}
	return ""
}

// Order is the place of the letter in POP3, counted from 1 (Dovecot's pop3-order); 0
// when the list gives it none.
func (r *Record) Order() uint32 {
	for _, f := range r.Fields {
		if n, err := number(f[1:]); f[0] == 'O' && err == nil {
			return n
		}
	}
	return 0
}

func unprintable(r rune) bool { return r < '!' || r > '~' }

// ErrFormat means that a file is no list.
var ErrFormat = errors.New("not a list of UIDs")

// Parse reads a list. Lines that make no sense, as a crash may leave them, are
// passed over, and so are UIDs that do not ascend.
func Parse(b []byte) (*List, error) {
	head, rest, whole := bytes.Cut(b, []byte("\n"))
	l := &List{}
	version, err := l.parseHead(string(head))
	if err != nil || !whole {
		return nil, ErrFormat
	}
	l.Add(rest, version)
	return l, nil
}

func (l *List) parseHead(line string) (version int, err error) {
	words := strings.Fields(line)
	if len(words) == 3 && words[0] == "1" {
		l.Validity, err = number(words[1])
		if err == nil {
			l.Next, err = number(words[2])
		}
		if l.Validity == 0 {
			err = ErrFormat
		}
		return 1, err
	}
	if len(words) < 2 || words[0] != "3" {
		return 0, ErrFormat
	}
	for _, w := range words[1:] {
		switch w[0] {
		case 'V':
			l.Validity, err = number(w[1:])
		case 'N':
			l.Next, err = number(w[1:])
		case 'G':
			l.GUID = w[1:]
		}
		if err != nil {
			return 0, err
		}
	}
	if l.Validity == 0 {
		return 0, ErrFormat
	}
	return 3, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, ErrFormat
	}
	return uint32(n), nil
}

// Add reads records that follow those that l has. The last line counts only if
// it is whole.
func (l *List) Add(b []byte, version int) {
	last := uint32(0)
	if n := len(l.Records); n > 0 {
		last = l.Records[n-1].UID
	}
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			break
		}
		b = rest
		r, ok := parseRecord(string(line), version)
		if !ok || r.UID <= last {
			continue
		}
		last = r.UID
		l.Records = append(l.Records, r)
	}
	if last > 0 && l.Next <= last {
		l.Next = last + 1
	}
}

func parseRecord(line string, version int) (r Record, ok bool) {
	first, rest, _ := strings.Cut(line, " ")
	uid, err := number(first)
	if err != nil || uid == 0 || uid == 1<<32-1 {
		return r, false
	}
	r.UID = uid
	if version == 1 {
		r.Name = rest
		return r, named(rest)
	}
	for {
		if name, ok := strings.CutPrefix(rest, ":"); ok {
			r.Name = name
			return r, named(name)
		}
		field, more, ok := strings.Cut(rest, " ")
		if !ok || field == "" {
			return r, false
		}
		r.Fields = append(r.Fields, field)
		rest = more
	}
}

// named tells whether a name is one that a file below cur/ can have.
func named(s string) bool { return s != "" && s[0] != '.' && !strings.ContainsAny(s, "/\x00\r") }

// Format writes a list as version 3.
func (l *List) Format() []byte {
	b := fmt.Appendf(nil, "3 V%d N%d", l.Validity, l.Next)
	if l.GUID != "" {
		b = append(b, " G"+l.GUID...)
	}
	b = append(b, '\n')
	for i := range l.Records {
		b = l.Records[i].Append(b)
	}
	return b
}

// Append writes a record as version 3.
func (r *Record) Append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(r.UID), 10)
	for _, f := range r.Fields {
		b = append(append(b, ' '), f...)
	}
	return append(append(append(b, " :"...), r.Name...), '\n')
}
