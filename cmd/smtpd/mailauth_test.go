package main

import (
	"errors"
	"fmt"
	"io"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/mailtest"
)

// TestMailAuth has a real smtpd judge letters by the answers of a real DNS server,
// of which one name cannot be had.
func TestMailAuth(t *testing.T) {
	var records []string
	for domain, policy := range map[string]string{"good": "reject", "bad": "reject", "junk": "quarantine", "sick": "reject"} {
		records = append(records, domain+".test. 60 IN A 192.0.2.1", "_dmarc."+domain+`.test. 60 IN TXT "v=DMARC1; p=`+policy+`"`)
	}
	records = append(records, `good.test. 60 IN TXT "v=spf1 ip4:127.0.0.0/8 -all"`, `bad.test. 60 IN TXT "v=spf1 -all"`)
	dns, err := mailtest.StartDNS(records...)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	const serverFailure = 2
	dns.Fail("_dmarc.sick.test.", serverFailure)
	s := newKiller(t, build(t))
	s.args = []string{"--mail-auth", "enforce", "--relay-from", "192.0.2.1", "--resolver", dns.Addr}
	cmd, addr := s.start()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for domain, want := range map[string]string{
		"good.test": "", "junk.test": "", "sick.test": "",
		"bad.test": "5.7.1 neither SPF nor DKIM shows that it is from bad.test, whose policy is reject",
	} {
		text := fmt.Sprintf("From: a@%s\r\nTo: ann@example.org\r\nAuthentication-Results: mx.example.org; dmarc=pass\r\nSubject: %s\r\n\r\nx\r\n", domain, domain)
		err := sendFrom(addr, "a@"+domain, "ann@example.org", text)
		if got := fmt.Sprint(err); (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(got, "550 ") || !strings.Contains(got, want)) {
			t.Errorf("%s: %v, want %q", domain, err, want)
		}
	}
	for _, text := range await(t, filepath.Join(s.spool, "mail/ann/new"), 2, isJudged) {
		flat := strings.Join(strings.Fields(text), " ")
		good := strings.Contains(flat, "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=a@good.test; dkim=none; dmarc=pass header.from=good.test")
		sick := strings.Contains(flat, "dmarc=temperror header.from=sick.test")
		if good == sick || strings.Count(text, "Authentication-Results") != 1 {
			t.Errorf("in the inbox: %s", text)
		}
	}
	if junk := await(t, filepath.Join(s.spool, "mail/ann/.Junk/new"), 1, isJudged); !strings.Contains(strings.Join(junk, ""), "dmarc=fail header.from=junk.test") {
		t.Errorf("in .Junk: %s", junk)
	}
}

func isJudged(text string) bool { return strings.Contains(text, "Authentication-Results: ") }

// sendFrom sends one letter, in the clear.
func sendFrom(addr, from, to, text string) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Mail(from), c.Rcpt(to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return w.Close()
}
