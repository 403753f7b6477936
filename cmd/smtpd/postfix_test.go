package main

import (
	"bytes"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/smtp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"postbag/internal/mailtest"
)

// letters are what is sent in each direction, by subject. Bodies are in wire
// form.
var letters = map[string]string{
	"plain":  "one line\r\n",
	"dots":   ".\r\n..\r\n.dot\r\n\r\n.\r\n.end\r\n",
	"eight":  "gr\xc3\xbc\xc3\x9fe aus K\xc3\xb6ln\r\n",
	"long":   strings.Repeat("y", 990) + "\r\n",
	"large":  strings.Repeat("0123456789012345678901234567890123456789012345678\r\n", 40000),
	"empty":  "",
	"spaces": "  \r\n \t \r\nx  \r\n",
}

// TestPostfixIsTheNextHost sends each letter to a Postfix, found by its MX, with
// all that it offers and with nothing.
func TestPostfixIsTheNextHost(t *testing.T) {
	peer := &mailtest.Postfix{Next: 1}
	peer.Start(t)
	dns, err := mailtest.StartDNS("local.test. 60 IN MX 10 mx.local.test.", "mx.local.test. 60 IN A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	k := newKiller(t, build(t))
	reports := filepath.Join(k.spool, "mail/ann/new")
	for name, port := range map[string]int{"esmtp": peer.Port, "plain": peer.Plain} {
		t.Run(name, func(t *testing.T) {
			empty(t, peer.Maildir+"/new")
			empty(t, reports)
			k.args = []string{"--resolver", dns.Addr, "--smtp-port", strconv.Itoa(port)}
			cmd, addr := k.start()
			defer cmd.Wait()
			defer cmd.Process.Kill()
			for subject, body := range letters {
				send(t, addr, []string{"user@local.test", "nobody@local.test"}, subject, body)
			}
			if seven := compare(t, peer.Maildir+"/new"); seven != map[string]int{"esmtp": 0, "plain": 1}[name] {
				t.Errorf("%d letters in seven bits", seven)
			}
			bounces := await(t, reports, len(letters), isReport)
			for _, text := range bounces {
				if !strings.Contains(text, "Final-Recipient: rfc822; nobody@local.test") || strings.Contains(text, "rfc822; user@") || !strings.Contains(text, "5.1.1") {
					t.Errorf("report:\n%s", text)
				}
			}
			log, err := os.ReadFile(peer.Log)
			if err != nil {
				t.Fatal(err)
			}
			for _, complaint := range []string{"improper command", "nested MAIL", "protocol error", "lost connection after RCPT", "lost connection after DATA", "lost connection after BDAT"} {
				if bytes.Contains(log, []byte(complaint)) {
					t.Errorf("Postfix complains of %s", complaint)
				}
			}
		})
	}
}

// TestPostfixIsTheHostBefore sends each letter through a Postfix to smtpd.
func TestPostfixIsTheHostBefore(t *testing.T) {
	k := newKiller(t, build(t))
	cmd, addr := k.start()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	next, err := strconv.Atoi(addr[strings.LastIndexByte(addr, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	peer := &mailtest.Postfix{Next: next}
	peer.Start(t)
	for subject, body := range letters {
		send(t, fmt.Sprintf("127.0.0.1:%d", peer.Port), []string{"ann@example.org", "nobody@example.org"}, subject, body)
	}
	compare(t, filepath.Join(k.spool, "mail/ann/new"))
}

// empty removes the letters of a directory.
func empty(t *testing.T, dir string) {
	t.Helper()
	files, _ := filepath.Glob(dir + "/*")
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

// send gives a letter to a server.
func send(t *testing.T, addr string, to []string, subject, body string) {
	t.Helper()
	text := "From: ann@example.org\r\nTo: user@local.test\r\nSubject: " + subject + "\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("ann@example.org"); err != nil {
		t.Fatal(err)
	}
	for _, to := range to {
		if err := c.Rcpt(to); err != nil && !strings.HasPrefix(to, "nobody") {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Quit()
}

// compare waits for all letters and compares each with what was sent. Reports may
// be among them. It tells how many came in seven bits.
func compare(t *testing.T, dir string) (seven int) {
	t.Helper()
	found := map[string]string{}
	for _, text := range await(t, dir, len(letters), isLetter) {
		_, subject, _ := strings.Cut(text, "\nSubject: ")
		subject, _, _ = strings.Cut(subject, "\n")
		header, body, _ := strings.Cut(text, "\n\n")
		if strings.Contains(header, "Content-Transfer-Encoding: quoted-printable") {
			b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
			if err != nil {
				t.Error(err)
			}
			body = string(b)
			seven++
		}
		found[subject] = body
	}
	for subject, body := range letters {
		if want := strings.ReplaceAll(body, "\r\n", "\n"); found[subject] != want {
			t.Errorf("%s: %d octets %.60q, want %d octets %.60q", subject, len(found[subject]), found[subject], len(want), want)
		}
	}
	return seven
}

func isLetter(text string) bool {
	header, _, _ := strings.Cut(text, "\n\n")
	return strings.Contains(header, "\nTo: user@local.test\nSubject: ")
}

// isReport tells a report from what it reports on.
func isReport(text string) bool { return strings.Contains(text, "\nContent-Type: multipart/report;") }

// await waits until a directory has n letters of a kind.
func await(t *testing.T, dir string, n int, kind func(text string) bool) (texts []string) {
	t.Helper()
	for range 600 {
		texts = nil
		files, _ := filepath.Glob(dir + "/*")
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err == nil && kind(string(text)) {
				texts = append(texts, string(text))
			}
		}
		if len(texts) >= n {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(texts) != n {
		t.Fatalf("%d letters in %s, want %d", len(texts), dir, n)
	}
	return texts
}
