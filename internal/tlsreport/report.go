package tlsreport

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A report is one domain's of one day. Its fields are those of RFC 8460 section
// 4.4.
type report struct {
	Organization string    `json:"organization-name"`
	Range        dateRange `json:"date-range"`
	Contact      string    `json:"contact-info"`
	ID           string    `json:"report-id"`
	Policies     []*tally  `json:"policies"`

	domain    string
	submitter string
}

type dateRange struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// newReport makes the report of a day. Its ID follows from what it is of, so that
// one that comes twice is known.
func newReport(submitter, contact, name string, day time.Time, d *domain) *report {
	sum := sha256.Sum256([]byte(submitter + " " + name + " " + day.Format(dayForm)))
	return &report{
		Organization: submitter, Contact: contact, Policies: d.Tallies,
		Range:  dateRange{day, day.Add(24*time.Hour - time.Second)},
		ID:     fmt.Sprintf("%s.%x@%s", day.Format("20060102"), sum[:8], submitter),
		domain: name, submitter: submitter,
	}
}

// packed is the report in JSON, compressed.
func (r *report) packed() ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := json.NewEncoder(w).Encode(r); err != nil {
		return nil, err
	}
	err := w.Close()
	return b.Bytes(), err
}

// fileName is that of RFC 8460 section 5.1.
func (r *report) fileName() string {
	return fmt.Sprintf("%s!%s!%d!%d.json.gz", r.submitter, r.domain, r.Range.Start.Unix(), r.Range.End.Unix())
}

// letter is the report as mail, with LF (RFC 8460 section 5.3). It is sent whatever
// is wrong with the TLS of the hosts that it tells of (RFC 8689 section 5).
func (r *report) letter(from, to string, now time.Time, packed []byte) []byte {
	sum := sha256.Sum256([]byte(r.ID + to))
	boundary := fmt.Sprintf("report-%x", sum[:12])
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("From: <%s>", from)
	line("To: <%s>", to)
	line("Date: %s", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 +0000"))
	line("Message-ID: <%x.%s>", sum[:6], r.ID)
	line("Subject: Report Domain: %s\n Submitter: %s\n Report-ID: <%s>", r.domain, r.submitter, r.ID)
	line("TLS-Report-Domain: %s", r.domain)
	line("TLS-Report-Submitter: %s", r.submitter)
	line("TLS-Required: No")
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=\"tlsrpt\";\n boundary=\"%s\"", boundary)
	line("\n--%s", boundary)
	line("Content-Type: text/plain; charset=us-ascii\n")
	line("This is a report of %s about TLS with the mail hosts of %s\non %s (UTC), as RFC 8460 has it.\n",
		r.submitter, r.domain, r.Range.Start.Format(dayForm))
	line("--%s", boundary)
	line("Content-Type: application/tlsrpt+gzip\nContent-Transfer-Encoding: base64")
	line("Content-Disposition: attachment;\n filename=\"%s\"\n", r.fileName())
	text := base64.StdEncoding.EncodeToString(packed)
	for part := range slices.Chunk([]byte(text), 76) {
		line("%s", part)
	}
	line("--%s--", boundary)
	return b.Bytes()
}

// parseRecord finds where reports are wanted (RFC 8460 section 3): nowhere where
// there is not exactly one record.
func parseRecord(texts []string) (uris []string) {
	var records []string
	for _, t := range texts {
		if version, rest, _ := strings.Cut(t, ";"); strings.TrimRight(version, " \t") == "v=TLSRPTv1" {
			records = append(records, rest)
		}
	}
	if len(records) != 1 {
		return nil
	}
	for field := range strings.SplitSeq(records[0], ";") {
		value, ok := strings.CutPrefix(strings.TrimSpace(field), "rua=")
		for uri := range strings.SplitSeq(value, ",") {
			if uri = strings.TrimSpace(uri); ok && uri != "" {
				uris = append(uris, uri)
			}
		}
	}
	return uris
}
