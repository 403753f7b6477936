package message

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postbag/internal/address"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testReport() Report {
	return Report{
		ID: "4XA1", Kind: Failed, ReportingMTA: "mx.example.org", Now: testTime, Arrival: testTime.Add(-time.Hour), Envid: "QQ1",
		From: address.Address{Local: "MAILER-DAEMON", Domain: "mx.example.org"},
		To:   address.Address{Local: "ann", Domain: "example.org"},
		Recipients: []ReportRecipient{
			{Final: address.Address{Local: "bob", Domain: "example.net"}, Orig: "rfc822;info@example.net", Action: "failed", Status: "5.1.1",
				RemoteMTA: "mx.example.net", Diagnostic: "550 5.1.1 <bob@example.net>: no such user here,\r\nand never was one; do not try this again please", LastAttempt: testTime},
			{Final: address.Address{Local: "carl", Domain: "example.net"}, Action: "failed", Status: "5.4.7", Diagnostic: "too long in the queue"},
		},
		Original: strings.NewReader("Subject: hello\nFrom: ann@example.org\n\nthe text\n"),
		Full:     true,
	}
}

func TestReports(t *testing.T) {
	headers, delay, utf8 := testReport(), testReport(), testReport()
	headers.Full = false
	delay.Kind, delay.Full = Delayed, false
	delay.Recipients = []ReportRecipient{{Final: address.Address{Local: "bob", Domain: "example.net"}, Action: "delayed", Status: "4.4.1", Diagnostic: "connection refused", WillRetryUntil: testTime.Add(96 * time.Hour)}}
	utf8.UTF8 = true
	utf8.To.Local = "jörg"
	utf8.Recipients[1].Final.Local = "käthe"
	utf8.Original = strings.NewReader("Subject: grüße\n\ntext\n")
	plain := testReport()
	plain.Recipients[1].Final.Local = "käthe" // reported to one who cannot take UTF-8
	for name, r := range map[string]Report{"failed": testReport(), "headers": headers, "delayed": delay, "utf8": utf8, "ascii": plain} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			n, err := r.WriteTo(&b)
			if err != nil || n != int64(b.Len()) {
				t.Fatalf("WriteTo = %d, %v; want %d", n, err, b.Len())
			}
			checkParts(t, b.Bytes(), r)
			golden(t, "testdata/report-"+name+".txt", fixed(b.String()))
		})
	}
}

// fixed replaces what is random.
func fixed(s string) string {
	s = regexp.MustCompile(`postbag\.[0-9A-F]{24}`).ReplaceAllString(s, "BOUNDARY")
	return regexp.MustCompile(`4XA1\.[0-9A-F]{24}`).ReplaceAllString(s, "4XA1.RANDOM")
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

// checkParts reads the report with another parser than ours.
func checkParts(t *testing.T, report []byte, r Report) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(report))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("Content-Type is %s %v, %v", kind, params, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for i := range 3 {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 && bytes.Count(text, []byte("Final-Recipient:")) != len(r.Recipients) {
			t.Errorf("delivery status is %s", text)
		}
		if i == 1 && !r.UTF8 && !isASCII(text) {
			t.Errorf("delivery status is not ASCII: %s", text)
		}
		if i == 2 && !bytes.HasPrefix(text, []byte("Subject:")) {
			t.Errorf("original is %s", text)
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("after three parts: %v", err)
	}
}

// RFC 6533 sections 3 and 4.1: what ORCPT has in a form for ASCII is written in UTF-8
// where that may be, and else stays.
func TestOriginalRecipientsInUTF8(t *testing.T) {
	for orig, want := range map[string]struct{ utf8, ascii string }{
		`utf-8;j\x{F6}rg\x{2B}x@x.example`: {"utf-8; jörg+x@x.example", `utf-8; j\x{F6}rg\x{2B}x@x.example`},
		"UTF-8;jörg@x.example":             {"utf-8; jörg@x.example", `utf-8; j\x{F6}rg@x.example`},
		`utf-8;j\x{F6rg@x.example`:         {`utf-8; j\x{F6rg@x.example`, `utf-8; j\x{F6rg@x.example`},
		`utf-8;j\x{0A}rg@x.example`:        {`utf-8; j\x{0A}rg@x.example`, `utf-8; j\x{0A}rg@x.example`},
		`utf-8;j\x{D800}rg@x.example`:      {`utf-8; j\x{D800}rg@x.example`, `utf-8; j\x{D800}rg@x.example`},
		`rfc822;j\x{F6}rg@x.example`:       {`rfc822; j\x{F6}rg@x.example`, `rfc822; j\x{F6}rg@x.example`},
		"RFC822;ann@x.example":             {"RFC822; ann@x.example", "RFC822; ann@x.example"},
	} {
		if got := (Report{UTF8: true}).typed(orig); got != want.utf8 {
			t.Errorf("%s in UTF-8 is %q, want %q", orig, got, want.utf8)
		}
		if got := (Report{}).typed(orig); got != want.ascii {
			t.Errorf("%s in ASCII is %q, want %q", orig, got, want.ascii)
		}
	}
}

func TestReportTellsOfAnUnreadableOriginal(t *testing.T) {
	r := testReport()
	broken := errors.New("disk on fire")
	r.Original = iotest.ErrReader(broken)
	if _, err := r.WriteTo(io.Discard); !errors.Is(err, broken) {
		t.Errorf("WriteTo = %v, want %v", err, broken)
	}
}

func TestReportHoldsNoLongLine(t *testing.T) {
	r := testReport()
	r.Recipients[0].Diagnostic = strings.Repeat("x", 5000)
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if len(line) > 998 {
			t.Errorf("a line has %d octets: %.80s", len(line), line)
		}
	}
}
