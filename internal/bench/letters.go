package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// words make subjects and texts that differ.
var words = strings.Fields(`the of and report meeting budget invoice lunch plan garden house river mountain
letter paper window summer winter train station travel ticket answer question project deadline review release
build server client mailbox folder message thread people family friend doctor school teacher music concert film`)

// needle is in the text of one letter in a thousand, haystack's letters apart.
const needle = "zebrafish"

// A haystack makes letters of about 2 KiB that look like those of people: some
// in threads, some with an attachment. The same seed gives the same letters.
type haystack struct{ r *rand.Rand }

func newHaystack() *haystack { return &haystack{rand.New(rand.NewPCG(7, 11))} }

func (h *haystack) words(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(words[h.r.IntN(len(words))])
	}
	return b.String()
}

// letter is letter n in disk form.
func (h *haystack) letter(n int, at time.Time) string {
	var b strings.Builder
	for hop := range 3 {
		fmt.Fprintf(&b, "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\n\tby mx%d.example.org with ESMTPS id %08X\n\tfor <user@bench.test>; %s\n",
			hop, hop, hop+1, hop, h.r.Uint32(), at.Format(time.RFC1123Z))
	}
	subject := h.words(4)
	fmt.Fprintf(&b, "From: %s <%s@example.net>\nTo: User <user@bench.test>\nDate: %s\nMessage-ID: <%d.bench@example.net>\n",
		h.words(2), words[n%len(words)], at.Format(time.RFC1123Z), n)
	if n%3 != 0 { // in a thread that a letter not long before began
		root := n - n%30
		subject = fmt.Sprintf("Re: thread %d %s", root, words[root%len(words)])
		fmt.Fprintf(&b, "In-Reply-To: <%d.bench@example.net>\nReferences: <%d.bench@example.net>\n", root, root)
	}
	fmt.Fprintf(&b, "Subject: %s\nMIME-Version: 1.0\n", subject)
	text := h.text(n)
	if n%5 == 0 {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"=_b%d\"\n\n--=_b%d\nContent-Type: text/plain; charset=utf-8\n\n%s\n"+
			"--=_b%d\nContent-Type: application/octet-stream; name=\"a.bin\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"a.bin\"\n\n"+
			"%s\n--=_b%d--\n", n, n, text[:len(text)/2], n, strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\n", 6), n)
		return b.String()
	}
	b.WriteString("Content-Type: text/plain; charset=utf-8\n\n")
	b.WriteString(text)
	return b.String()
}

func (h *haystack) text(n int) string {
	var b strings.Builder
	for b.Len() < 1100 {
		b.WriteString(h.words(9))
		b.WriteByte('\n')
	}
	if n%1000 == 0 {
		b.WriteString(needle + "\n")
	}
	return b.String()
}

// fillMaildir writes n letters into cur/ of new Maildirs: the first has the
// files, the others have links to them, so that all have the same to read.
func fillMaildir(n int, dirs ...string) error {
	for _, dir := range dirs {
		for _, sub := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return err
			}
		}
	}
	h := newHaystack()
	begin := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		at := begin.Add(time.Duration(i) * 5 * time.Minute)
		text := h.letter(i, at)
		flags := "S"
		if i%4 == 0 {
			flags = ""
		}
		name := fmt.Sprintf("%d.M%06dP1R%016x.bench,S=%d,W=%d:2,%s", at.Unix(), i%1000000, h.r.Uint64(), len(text), len(text)+strings.Count(text, "\n"), flags)
		first := filepath.Join(dirs[0], "cur", name)
		if err := os.WriteFile(first, []byte(text), 0o644); err != nil {
			return err
		}
		if err := os.Chtimes(first, at, at); err != nil {
			return err
		}
		for _, dir := range dirs[1:] {
			if err := os.Link(first, filepath.Join(dir, "cur", name)); err != nil {
				return err
			}
		}
	}
	return nil
}
