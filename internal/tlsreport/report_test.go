package tlsreport

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// example is what RFC 8460 appendix B tells of.
func example() *domain {
	d := &domain{}
	by := Policy{
		Kind: STS, Domain: "company-y.example", MX: []string{"*.mail.company-y.example"},
		Strings: []string{"version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"},
	}
	note := func(n int, f *Failure) {
		for range n {
			d.count(Session{Policy: by, Failure: f})
		}
	}
	note(5326, nil)
	note(100, &Failure{Result: Expired, From: "2001:db8:abcd:0012::1", MX: "mx1.mail.company-y.example"})
	note(200, &Failure{Result: NoSTARTTLS, From: "2001:db8:abcd:0013::1", MX: "mx2.mail.company-y.example", To: "203.0.113.56"})
	note(3, &Failure{Result: Validation, From: "198.51.100.62", MX: "mx-backup.mail.company-y.example", To: "203.0.113.58", Reason: "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"})
	return d
}

func unpack(t testing.TB, packed []byte) (report map[string]any) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Field by field it is the report of RFC 8460 appendix B, but for its ID and what
// we do not tell (additional-information).
func TestAReportIsTheOneOfTheRFC(t *testing.T) {
	day := time.Date(2016, 4, 1, 0, 0, 0, 0, time.UTC)
	r := newReport("mx.company-x.example", "sts-reporting@company-x.example", "company-y.example", day, example())
	packed, err := r.packed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/report.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	got := unpack(t, packed)
	if id, _ := got["report-id"].(string); !strings.HasPrefix(id, "20160401.") || !strings.HasSuffix(id, "@mx.company-x.example") {
		t.Errorf("ID %q", id)
	}
	want["report-id"] = got["report-id"]
	if !reflect.DeepEqual(got, want) {
		t.Errorf("report %v\nwant %v", got, want)
	}
}

func TestTheSameReportHasTheSameID(t *testing.T) {
	day := time.Date(2016, 4, 1, 0, 0, 0, 0, time.UTC)
	id := func(submitter, name string, day time.Time) string {
		return newReport(submitter, "", name, day, &domain{}).ID
	}
	first := id("mx", "a.example", day)
	if first != id("mx", "a.example", day) {
		t.Error("it has another one")
	}
	for _, other := range []string{id("mx2", "a.example", day), id("mx", "b.example", day), id("mx", "a.example", day.Add(24*time.Hour))} {
		if other == first {
			t.Errorf("another report has the ID %s, too", other)
		}
	}
}

func TestTheLetterOfAReport(t *testing.T) {
	day := time.Date(2016, 4, 1, 0, 0, 0, 0, time.UTC)
	r := newReport("mx.x.example", "tls@x.example", "y.example", day, &domain{})
	got := string(r.letter("tls@x.example", "reports@y.example", day.Add(26*time.Hour), bytes.Repeat([]byte("x"), 100)))
	want, err := os.ReadFile("testdata/letter")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("letter:\n%s", got)
	}
}

func TestWhereReportsAreWanted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		texts []string
		want  []string
	}{
		{"by mail", []string{"v=TLSRPTv1; rua=mailto:reports@example.com"}, []string{"mailto:reports@example.com"}},
		{"by mail and HTTPS", []string{"v=TLSRPTv1;rua=mailto:a@example.com,https://example.com/v1/tlsrpt ;"}, []string{"mailto:a@example.com", "https://example.com/v1/tlsrpt"}},
		{"beside records of others", []string{"google-site=1", "v=TLSRPTv1;rua=mailto:a@b.example"}, []string{"mailto:a@b.example"}},
		{"with fields that nobody knows", []string{"v=TLSRPTv1; x=y; rua=mailto:a@b.example; z=1"}, []string{"mailto:a@b.example"}},
		{"two records are none", []string{"v=TLSRPTv1;rua=mailto:a@b.example", "v=TLSRPTv1;rua=mailto:b@b.example"}, nil},
		{"another version", []string{"v=TLSRPTv10;rua=mailto:a@b.example"}, nil},
		{"the version elsewhere", []string{"rua=mailto:a@b.example; v=TLSRPTv1"}, nil},
		{"nothing", nil, nil},
	} {
		if got := parseRecord(tt.texts); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
