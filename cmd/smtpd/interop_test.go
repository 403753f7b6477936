package main

import (
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"postbag/internal/mailtest"
)

// A peer is another mail server that sends what is not for it to ours, and is the
// mail exchanger of local.test and, after a login, auth.test.
type peer struct {
	port, submit  int
	maildir, cert string
	log           func() string
}

// between starts smtpd between a peer and its mailboxes. begin starts the peer with
// our ports.
func between(t *testing.T, begin func(next, login int) peer) (ours *killer, port int, p peer) {
	t.Helper()
	next, login := mailtest.FreePort(t), mailtest.FreePort(t)
	p = begin(next, login)
	dns, err := mailtest.StartDNS("local.test. 60 IN MX 10 mx.local.test.", "mx.local.test. 60 IN A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	ours = newKiller(t, build(t))
	routes := filepath.Join(ours.dir, "routes")
	if err := os.WriteFile(routes, fmt.Appendf(nil, "auth.test smtp+starttls://user@localhost:%d\n", p.submit), 0o600); err != nil {
		t.Fatal(err)
	}
	ours.args = []string{"--resolver", dns.Addr, "--smtp-port", strconv.Itoa(p.port), "--routes", routes, "--tls-ca", p.cert, "--password-command", "echo secret",
		"--domain", "login.test", "--listen", fmt.Sprintf("smtp://127.0.0.1:%d", next), "--listen", fmt.Sprintf("submission://127.0.0.1:%d", login)}
	cmd, _ := ours.start()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return ours, next, p
}

// say speaks SMTP with a server: after EHLO these commands, which it has to take,
// and a letter.
func say(t *testing.T, port int, letter string, commands ...string) {
	t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	c := textproto.NewConn(nc)
	reply := func(what string) {
		t.Helper()
		if code, text, err := c.ReadResponse(0); err != nil || code >= 400 {
			t.Fatalf("%s: %d %s, %v", what, code, text, err)
		}
	}
	reply("greeting")
	for _, line := range append(append([]string{"EHLO client"}, commands...), "DATA") {
		c.PrintfLine("%s", line)
		reply(line)
	}
	c.W.WriteString(letter + ".\r\n")
	c.W.Flush()
	reply("text")
	c.PrintfLine("QUIT")
}

// header is that of the one letter of a directory with a subject, once it is there.
func header(t *testing.T, dir, subject string) string {
	t.Helper()
	texts := await(t, dir+"/new", 1, func(text string) bool {
		header, _, _ := strings.Cut(text, "\n\n")
		return strings.Contains(header, "\nSubject: "+subject+"\n")
	})
	header, _, _ := strings.Cut(texts[0], "\n\n")
	return header
}

// has says what is missing of some patterns.
func has(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(text) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

func letterAbout(subject string) string {
	return "From: ann@example.org\r\nTo: user@local.test\r\nSubject: " + subject + "\r\n\r\ntext\r\n"
}

// overTLS sends a letter each way; received is how the peer tells of TLS.
func overTLS(t *testing.T, ours *killer, port int, p peer, received string) {
	say(t, port, letterAbout("TLS there"), "MAIL FROM:<ann@example.org>", "RCPT TO:<user@local.test>")
	has(t, header(t, p.maildir, "TLS there"), received)
	say(t, p.port, letterAbout("TLS here"), "MAIL FROM:<user@local.test>", "RCPT TO:<ann@example.org>")
	has(t, header(t, ours.box("ann"), "TLS here"), `with ESMTPS id`, `using TLS 1\.[23] with cipher`)
}

// withLogin sends a letter after a login to the peer, with its certificate
// verified.
func withLogin(t *testing.T, port int, p peer, received string) {
	say(t, port, letterAbout("login there"), "MAIL FROM:<ann@example.org>", "RCPT TO:<user@auth.test>")
	has(t, header(t, p.maildir, "login there"), received)
}

// withOurLogin sends a letter to the peer, which logs in to bring it here.
func withOurLogin(t *testing.T, ours *killer, p peer) {
	say(t, p.port, letterAbout("login here"), "MAIL FROM:<user@local.test>", "RCPT TO:<ann@login.test>")
	has(t, header(t, ours.box("ann"), "login here"), `with ESMTPSA id`)
	ours.log.await(t, `msg=login proto=submission .*user=ann `)
}

// reportedThere asks for a report on a delivery there: the peer writes it, and
// nobody else.
func reportedThere(t *testing.T, ours *killer, port int, p peer, patterns ...string) {
	say(t, port, letterAbout("report there"), "MAIL FROM:<bob@example.org> RET=HDRS ENVID=there+3D1",
		"RCPT TO:<user@local.test> NOTIFY=SUCCESS ORCPT=rfc822;some+2Bone@else.test")
	has(t, header(t, p.maildir, "report there"), "^Subject")
	reports := await(t, ours.box("bob")+"/new", 1, isStatus)
	has(t, reports[0], append(patterns, `^Reporting-MTA: dns; ?mx.local.test$`, `^Final-Recipient: rfc822; ?user@local.test$`, `^Action: delivered$`, `^Status: 2\.`)...)
}

// reportedHere asks the peer for a report on a delivery here: the peer passes that
// on, and we write it.
func reportedHere(t *testing.T, ours *killer, p peer) {
	say(t, p.port, letterAbout("report here"), "MAIL FROM:<user@local.test> RET=HDRS ENVID=here+3D1", "RCPT TO:<ann@example.org> NOTIFY=SUCCESS ORCPT=rfc822;some+2Bone@else.test")
	has(t, header(t, ours.box("ann"), "report here"), "^Subject")
	reports := await(t, p.maildir+"/new", 1, isStatus)
	has(t, reports[0], `^Original-Envelope-Id: here=1$`, `^Reporting-MTA: dns; mx.example.org$`, `^Original-Recipient: rfc822; some\+one@else.test$`, `^Action: delivered$`, `^Status: 2\.`)
}

// isStatus tells a report of whatever form.
func isStatus(text string) bool {
	return strings.Contains(text, "\nContent-Type: message/delivery-status\n")
}

// box is the Maildir of an account.
func (k *killer) box(name string) string { return filepath.Join(k.spool, "mail", name) }

func logOf(file string) func() string {
	return func() string {
		text, _ := os.ReadFile(file)
		return string(text)
	}
}

// TestPostfixAndWe has what both know used in each direction.
func TestPostfixAndWe(t *testing.T) {
	ours, port, p := between(t, func(next, login int) peer {
		p := &mailtest.Postfix{Next: next, Login: login, User: "ann", Password: "x"}
		p.Start(t)
		return peer{port: p.Port, submit: p.Submit, maildir: p.Maildir, cert: p.Cert, log: logOf(p.Log)}
	})
	t.Run("TLS", func(t *testing.T) { overTLS(t, ours, port, p, `using TLSv1\.3 with cipher`) })
	t.Run("login", func(t *testing.T) {
		withLogin(t, port, p, `with ESMTPSA id`)
		withOurLogin(t, ours, p)
	})
	t.Run("reports", func(t *testing.T) {
		reportedThere(t, ours, port, p, `^Original-Envelope-Id: there=1$`, `^Original-Recipient: rfc822; ?some\+one@else.test$`)
		reportedHere(t, ours, p)
	})
	t.Run("SMTPUTF8", func(t *testing.T) { inUTF8(t, ours, port, p) })
	// It counts commands, and tells at the end of a connection, which is kept for a moment.
	p.awaitLog(t, `disconnect from .* ehlo=2 starttls=1 mail=(\d+) rcpt=(\d+) bdat=(\d+) `)
}

// awaitLog waits for something in the peer's log.
func (p peer) awaitLog(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if re.MatchString(p.log()) {
			return
		}
	}
	t.Errorf("no %q in:\n%s", pattern, p.log())
}

// inUTF8 sends letters with addresses that are not ASCII.
func inUTF8(t *testing.T, ours *killer, port int, p peer) {
	say(t, port, "From: j\u00fcrgen@example.org\r\nSubject: \u00e4 there\r\n\r\n\u00e4\r\n", "MAIL FROM:<j\u00fcrgen@example.org> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<user@local.test>")
	has(t, header(t, p.maildir, "\u00e4 there"), `^Return-Path: <j\x{fc}rgen@example.org>$`, `^From: j\x{fc}rgen@`, `with UTF8SMTPS id`)
	say(t, p.port, "From: j\u00fcrgen@local.test\r\nSubject: \u00e4 here\r\n\r\n\u00e4\r\n", "MAIL FROM:<j\u00fcrgen@local.test> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<ann@example.org>")
	has(t, header(t, ours.box("ann"), "\u00e4 here"), `^Return-Path: <j\x{fc}rgen@local.test>$`, `^From: j\x{fc}rgen@`, `with UTF8SMTPS id`)
}
