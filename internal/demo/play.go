package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postbag/internal/mailtest"
)

// A demo is one showing.
type demo struct {
	bin, dir string
	dns      *mailtest.DNS
	first    *host // anna@first.example sends
	second   *host // bert@second.example reads
	letters  []letter
}

// play is the whole of it, in order.
func (d *demo) play() error {
	for _, step := range []func() error{
		d.prepare, d.sendWhileDown, d.showWaiting, d.comeUp, d.readByPOP,
		d.readByIMAP, d.readByClients, d.fetchAll, d.bounce,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	say("\nEvery octet arrived as it was sent, and nothing is left in a queue. That is all.")
	return nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func headline(text string) { fmt.Printf("\n== %s\n", text) }

// prepare makes two hosts and the DNS that knows them.
func (d *demo) prepare() error {
	headline("Two hosts and a DNS server, all on the loopback, all in " + d.dir)
	var err error
	if d.dns, err = mailtest.StartDNS(
		"first.example. 60 IN MX 10 mx.first.example.", "mx.first.example. 60 IN A 127.0.0.11",
		"second.example. 60 IN MX 10 mx.second.example.", "mx.second.example. 60 IN A 127.0.0.12",
	); err != nil {
		return err
	}
	port, err := freePort("127.0.0.11", "127.0.0.12")
	if err != nil {
		return err
	}
	d.first = &host{demo: d, name: "first.example", user: "anna", ip: "127.0.0.11", port: port}
	d.second = &host{demo: d, name: "second.example", user: "bert", ip: "127.0.0.12", port: port}
	for _, h := range []*host{d.first, d.second} {
		if err := h.prepare(); err != nil {
			return err
		}
		say("%s: user %s, MX mx.%s at %s:%d, spool %s", h.name, h.user, h.name, h.ip, port, filepath.Base(h.dir)+"/spool")
	}
	return d.first.start("smtpd", "popd", "imapd")
}

// sendWhileDown submits every letter; nobody listens at their destination.
func (d *demo) sendWhileDown() error {
	headline("anna@first.example sends letters to bert@second.example, whose host is down")
	d.letters = letters()
	for _, l := range d.letters {
		out, err := d.first.run("sendmail", l.text, "-i", "-f", "anna@first.example", "--", l.to)
		if err != nil {
			return err
		}
		if len(out) > 0 {
			return fmt.Errorf("sendmail said %q", out)
		}
		say("  sendmail -i -f anna@first.example %-22s < %-16s %9d octets", l.to, l.name, len(l.text))
	}
	return nil
}

// showWaiting shows the queue with the reason why it waits.
func (d *demo) showWaiting() error {
	headline("mailq on first.example: they wait, and it says why")
	list, err := d.first.until("mailq to give a reason", func() (string, bool) {
		out, err := d.first.run("mailq", "")
		return out, err == nil && strings.Count(out, "refused") >= len(d.letters)
	})
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(list, "\n"), "\n")
	for i, line := range lines {
		if i < 9 || i >= len(lines)-1 {
			say("  %s", line)
		} else if i == 9 {
			say("  ...")
		}
	}
	return nil
}

// comeUp starts the second host and waits until the queue is empty.
func (d *demo) comeUp() error {
	headline("second.example comes up; `mailq retry --all` spares us the wait for the next attempt")
	if err := d.second.start("smtpd", "popd", "imapd"); err != nil {
		return err
	}
	if _, err := d.first.run("mailq", "", "retry", "--all"); err != nil {
		return err
	}
	out, err := d.first.until("the queue to become empty", func() (string, bool) {
		out, err := d.first.run("mailq", "")
		return out, err == nil && strings.Contains(out, "Mail queue is empty")
	})
	if err != nil {
		return err
	}
	say("  %s", strings.TrimSpace(out))
	return nil
}

// readByPOP reads bert's letters by POP3.
func (d *demo) readByPOP() error {
	headline("bert reads them by POP3, with " + clientName("pop3"))
	got, err := d.second.readPOP()
	if err != nil {
		return err
	}
	return d.compare(got)
}

// readByIMAP reads them by IMAP.
func (d *demo) readByIMAP() error {
	headline("and by IMAP, with " + clientName("imap"))
	got, err := d.second.readIMAP()
	if err != nil {
		return err
	}
	return d.compare(got)
}

// fetchAll pulls them into a Maildir elsewhere, twice: the second time there is
// nothing new.
func (d *demo) fetchAll() error {
	headline("fetch pulls them into a Maildir at home; run again, it finds nothing new")
	to := filepath.Join(d.dir, "home", "Maildir")
	for range 2 {
		out, err := d.second.runFetch(to)
		if err != nil {
			return err
		}
		say("  fetch --to maildir:home/Maildir imap://bert@...: %s", strings.TrimSpace(out))
	}
	got, err := readMaildir(to)
	if err != nil {
		return err
	}
	return d.compare(got)
}

// compare takes what arrived and looks for each letter that was sent. Trace
// fields may stand in front; the rest must be the same.
func (d *demo) compare(got [][]byte) error {
	if len(got) != len(d.letters) {
		return fmt.Errorf("%d letters arrived, want %d", len(got), len(d.letters))
	}
	for _, l := range d.letters {
		if err := l.find(got); err != nil {
			return err
		}
	}
	say("  %d letters, compared octet by octet with what was sent: the same.", len(got))
	return nil
}

// bounce sends a letter to nobody and shows what comes back.
func (d *demo) bounce() error {
	headline("A letter to nobody@second.example comes back to anna as a report")
	text := "From: anna@first.example\nTo: nobody@second.example\nSubject: Is anybody there?\n\nHello?\n"
	if _, err := d.first.run("sendmail", text, "-i", "-f", "anna@first.example", "nobody@second.example"); err != nil {
		return err
	}
	var report []byte
	_, err := d.first.until("the report to arrive", func() (string, bool) {
		got, err := d.first.readPOP()
		if err != nil || len(got) == 0 {
			return fmt.Sprint(err), false
		}
		report = got[0]
		return "", true
	})
	if err != nil {
		return err
	}
	for _, want := range []string{"Content-Type: multipart/report", "Action: failed", "Status: 5.1.1", "Final-Recipient: rfc822; nobody@second.example"} {
		if !bytes.Contains(report, []byte(want)) {
			return fmt.Errorf("the report has no %q:\n%s", want, report)
		}
	}
	showReport(string(report))
	return nil
}

// showReport prints the parts of a report that people read.
func showReport(text string) {
	_, body, _ := strings.Cut(text, "This is the mail system")
	body, _, _ = strings.Cut("This is the mail system"+body, "\r\n--")
	for _, line := range strings.Split(strings.ReplaceAll(body, "\r", ""), "\n") {
		say("  | %s", line)
	}
}

var errTimeout = errors.New("waited too long")

// until asks again and again, for half a minute.
func (h *host) until(what string, ask func() (string, bool)) (string, error) {
	var last string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		out, ok := ask()
		if ok {
			return out, nil
		}
		last = out
	}
	return "", fmt.Errorf("wait for %s: %w; last: %s", what, errTimeout, last)
}

// stop ends all that was started.
func (d *demo) stop() {
	for _, h := range []*host{d.first, d.second} {
		if h != nil {
			h.stop()
		}
	}
	if d.dns != nil {
		d.dns.Close()
	}
}

// showLogs prints the logs of the daemons, after a failure.
func (d *demo) showLogs() {
	files, _ := filepath.Glob(filepath.Join(d.dir, "*", "*.log"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if len(b) > 4000 {
			b = b[len(b)-4000:]
		}
		fmt.Printf("\n-- %s\n%s", strings.TrimPrefix(f, d.dir+"/"), b)
	}
}
