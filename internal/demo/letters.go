package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

// A letter is one that is sent.
type letter struct {
	name string
	to   string
	text string // as given to sendmail, with LF
}

const bert = "bert@second.example"

func head(subject, more string) string {
	return "From: Anna <anna@first.example>\nTo: Bert <bert@second.example>\nDate: Tue, 24 Nov 2026 10:00:00 +0000\n" +
		"Subject: " + subject + "\nMessage-ID: <" + strings.Trim(strings.Map(idChar, subject), "-") + "@first.example>\n" + more
}

// idChar keeps what may stand in a Message-ID.
func idChar(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

// letters are those of the list: what people send, and what breaks mail
// systems.
func letters() []letter {
	return []letter{
		{"plain.eml", bert, head("Plain", "") + "\nGood morning,\n\nhow are you?\n"},
		{"attachments.eml", bert, head("With attachments", multipartHead) + multipart()},
		{"8-bit.eml", bert, head("Eight bit", "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n") + "\nGrüße aus Köln – schöne Woche! 日本語\n"},
		{"latin-1.eml", bert, head("Old octets", "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n") + "\nGr\xfc\xdfe\n"},
		{"smtputf8.eml", "bert+größe@second.example", head("An address that is not ASCII", "") + "\nTo a subaddress in UTF-8.\n"},
		{"encoded-words.eml", bert, head("=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?b?8J+TrA==?=", "") + "\nThe subject is encoded.\n"},
		{"five-megabytes.eml", bert, head("Large", "MIME-Version: 1.0\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n") + "\n" + large(5<<20)},
		{"long-lines.eml", bert, head("Long lines", "") + "\n" + strings.Repeat(strings.Repeat("x", 998)+"\n", 3)},
		{"dots.eml", bert, head("Dots", "") + "\n.\n..\n.a line that begins with a dot\n...\nend\n.\n"},
		{"no-newline.eml", bert, head("No line end at the end", "") + "\nthe last line has no line end"},
	}
}

const multipartHead = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=-frontier\"\n"

func multipart() string {
	var b strings.Builder
	b.WriteString("\nThis is a multipart message.\n--=-frontier\nContent-Type: text/plain\n\nSee the pictures.\n")
	for i := range 3 {
		fmt.Fprintf(&b, "--=-frontier\nContent-Type: image/png; name=\"p%d.png\"\nContent-Disposition: attachment; filename=\"p%d.png\"\nContent-Transfer-Encoding: base64\n\n%s", i, i, large(20<<10))
	}
	b.WriteString("--=-frontier--\n")
	return b.String()
}

// large gives size octets of base64, the same each time.
func large(size int) string {
	raw := make([]byte, size*3/4)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(raw)
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\n")
		text = text[76:]
	}
	b.WriteString(text + "\n")
	return b.String()
}

// find looks for the letter in what arrived. A mail system puts trace fields in
// front and ends the last line; everything else must be there as it was.
func (l letter) find(got [][]byte) error {
	want := []byte(l.text)
	if !bytes.HasSuffix(want, []byte("\n")) {
		want = append(want, '\n')
	}
	for _, g := range got {
		if bytes.HasSuffix(bytes.ReplaceAll(g, []byte("\r\n"), []byte("\n")), want) {
			return nil
		}
	}
	return fmt.Errorf("letter %s did not arrive as it was sent", l.name)
}
