package main

import (
	"crypto/tls"
	"fmt"
	"net/smtp"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"postbag/internal/mailtest"
)

// TestOpenSMTPDIsTheNextHost sends each letter to an OpenSMTPD, with all that it
// offers and with nothing.
func TestOpenSMTPDIsTheNextHost(t *testing.T) {
	peer := &mailtest.OpenSMTPD{Next: 1, Login: 1}
	peer.Start(t)
	dns, err := mailtest.StartDNS("local.test. 60 IN MX 10 mx.local.test.", "mx.local.test. 60 IN A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	k := newKiller(t, build(t))
	for name, port := range map[string]int{"all": peer.Port, "little": peer.Plain} {
		t.Run(name, func(t *testing.T) {
			empty(t, peer.Maildir+"/new")
			empty(t, k.box("ann")+"/new")
			k.args = []string{"--resolver", dns.Addr, "--smtp-port", strconv.Itoa(port)}
			cmd, addr := k.start()
			defer cmd.Wait()
			defer cmd.Process.Kill()
			for subject, body := range letters {
				send(t, addr, []string{"user@local.test", "nobody@local.test"}, subject, body)
			}
			compare(t, peer.Maildir+"/new")
			for _, text := range await(t, k.box("ann")+"/new", len(letters), isReport) {
				has(t, text, `^Final-Recipient: rfc822; nobody@local.test$`, `^Status: 5\.`, `^Diagnostic-Code: smtp; .*550 Invalid recipient`)
			}
		})
	}
}

// TestOpenSMTPDIsTheHostBefore sends each letter through an OpenSMTPD to smtpd.
func TestOpenSMTPDIsTheHostBefore(t *testing.T) {
	k := newKiller(t, build(t))
	cmd, addr := k.start()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	next, err := strconv.Atoi(addr[strings.LastIndexByte(addr, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	peer := &mailtest.OpenSMTPD{Next: next, Login: 1}
	peer.Start(t)
	for subject, body := range letters {
		send(t, fmt.Sprintf("127.0.0.1:%d", peer.Port), []string{"ann@example.org", "nobody@example.org"}, subject, body)
	}
	compare(t, filepath.Join(k.spool, "mail/ann/new"))
}

// TestOpenSMTPDAndWe has what both know used in each direction.
func TestOpenSMTPDAndWe(t *testing.T) {
	ours, port, p := between(t, func(next, login int) peer {
		p := &mailtest.OpenSMTPD{Next: next, Login: login, User: "ann", Password: "x"}
		p.Start(t)
		return peer{port: p.Port, submit: p.Port, maildir: p.Maildir, cert: p.Cert, log: logOf(p.Log)}
	})
	t.Run("reports", func(t *testing.T) {
		reportedThere(t, ours, port, p) // it tells neither ENVID nor ORCPT
		reportedHere(t, ours, p)
	})
	t.Run("login here", func(t *testing.T) { withOurLogin(t, ours, p) })
	broken := speaksTLS(p.port)
	t.Run("TLS", func(t *testing.T) {
		if broken != nil {
			t.Skipf("what it does under TLS cannot be seen: %v", broken)
		}
		overTLS(t, ours, port, p, `with ESMTPS `)
		withLogin(t, port, p, `with ESMTPSA? `)
		p.awaitLog(t, `smtp authentication user=user result=ok`)
	})
	if broken != nil {
		t.Run("TLS that breaks", func(t *testing.T) { brokenTLS(t, ours, port, p) })
	}
}

// speaksTLS tries STARTTLS as anybody would. OpenSMTPD before 7.0 with OpenSSL 3, as
// in Debian 12, offers it and fails in every handshake (its issue 1171).
func speaksTLS(port int) error {
	c, err := smtp.Dial(fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.StartTLS(&tls.Config{InsecureSkipVerify: true})
}

// brokenTLS sends to a host whose TLS fails: in the clear where no TLS is wanted (RFC
// 7435), and not at all where a route wants it.
func brokenTLS(t *testing.T, ours *killer, port int, p peer) {
	say(t, port, letterAbout("in the clear"), "MAIL FROM:<ann@example.org>", "RCPT TO:<user@local.test>")
	has(t, header(t, p.maildir, "in the clear"), `with ESMTP `)
	say(t, port, letterAbout("kept"), "MAIL FROM:<ann@example.org>", "RCPT TO:<user@auth.test>")
	ours.log.await(t, `msg=deferred .*to=<user@auth.test> .*status=4\.7\.5`)
	say(t, p.port, letterAbout("TLS here"), "MAIL FROM:<user@local.test>", "RCPT TO:<ann@example.org>")
	has(t, header(t, ours.box("ann"), "TLS here"), `with ESMTPS id`, `using TLS 1\.[23] with cipher`)
}
