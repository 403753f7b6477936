package tlsreport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"postbag/internal/durable"
)

// recorder is one on a directory, whose clock stands.
func recorder(t testing.TB, at string) *Recorder {
	t.Helper()
	now, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	return &Recorder{FS: durable.New(), Dir: filepath.Join(t.TempDir(), "tlsrpt"), Now: func() time.Time { return now }}
}

func none(domain string) Policy { return Policy{Kind: NoPolicy, Domain: domain} }

func TestCountsAreKeptForTheNextProcess(t *testing.T) {
	r := recorder(t, "2026-11-28T12:00:00Z")
	bad := func() *Failure { return &Failure{Result: NoSTARTTLS, MX: "mx.a.example"} }
	for range 3 {
		r.Note(Session{Domain: "a.example", Policy: none("a.example")})
		r.Note(Session{Domain: "a.example", Policy: none("a.example"), Failure: bad()})
	}
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	next := &Recorder{FS: r.FS, Dir: r.Dir, Now: r.Now}
	next.Note(Session{Domain: "a.example", Policy: none("a.example"), Failure: bad()})
	next.Note(Session{Domain: "a.example", Policy: Policy{Kind: STS, Domain: "a.example"}})
	if err := next.Save(); err != nil {
		t.Fatal(err)
	}
	days, err := r.load("2026-11-28")
	if err != nil {
		t.Fatal(err)
	}
	all := days["a.example"].Tallies
	if len(all) != 2 || all[0].Summary != (summary{3, 4}) || len(all[0].Failures) != 1 || all[0].Failures[0].Count != 4 || all[1].Summary != (summary{1, 0}) {
		t.Errorf("%+v %+v", all[0], all[1])
	}
}

func TestADayEndsAtMidnightUTC(t *testing.T) {
	r := recorder(t, "2026-11-28T23:59:59Z")
	r.Note(Session{Domain: "a.example", Policy: none("a.example")})
	if days, err := r.over(); err != nil || len(days) != 0 {
		t.Errorf("over: %v, %v", days, err)
	}
	east := time.FixedZone("", 3600)
	r.Now = func() time.Time { return time.Date(2026, 11, 29, 0, 59, 59, 0, east) }
	r.Note(Session{Domain: "a.example", Policy: none("a.example")})
	if days, err := r.over(); err != nil || len(days) != 0 || r.domains["a.example"].Tallies[0].Summary.Good != 2 {
		t.Errorf("over in another zone: %v, %v", days, err)
	}
	r.Now = func() time.Time { return time.Date(2026, 11, 29, 1, 0, 0, 0, east) } // midnight
	r.Note(Session{Domain: "b.example", Policy: none("b.example")})
	days, err := r.over()
	if err != nil || !reflect.DeepEqual(days, []string{"2026-11-28"}) {
		t.Errorf("over: %v, %v", days, err)
	}
	before, err := r.load("2026-11-28")
	if err != nil || len(before) != 1 || before["a.example"] == nil {
		t.Errorf("%v, %v", before, err)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	r := recorder(t, "2026-11-28T12:00:00Z")
	for i := range maxDomains + 10 {
		r.Note(Session{Domain: fmt.Sprint(i), Policy: none("x")})
	}
	for i := range 2 * maxTallies {
		r.Note(Session{Domain: "0", Policy: none(fmt.Sprint(i))})
	}
	for i := range 2 * maxFailures {
		r.Note(Session{Domain: "1", Policy: none("x"), Failure: &Failure{Result: Validation, To: fmt.Sprint(i)}})
	}
	one := r.domains["1"].Tallies[0]
	if len(r.domains) != maxDomains || len(r.domains["0"].Tallies) != maxTallies || len(one.Failures) != maxFailures || one.Summary.Bad != 2*maxFailures {
		t.Errorf("%d domains, %d policies, %d failures of %d", len(r.domains), len(r.domains["0"].Tallies), len(one.Failures), one.Summary.Bad)
	}
}

func TestAFileThatIsDamagedIsAnError(t *testing.T) {
	r := recorder(t, "2026-11-28T12:00:00Z")
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("2026-11-27"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.load("2026-11-27"); err == nil {
		t.Error("it was read")
	}
}

func TestResult(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("TLS failed: %w", err) }
	for _, tt := range []struct {
		err            error
		result, reason string
	}{
		{wrap(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "mx"}), HostMismatch, ""},
		{wrap(x509.UnknownAuthorityError{}), NotTrusted, ""},
		{wrap(x509.CertificateInvalidError{Reason: x509.Expired}), Expired, ""},
		{wrap(x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}), NotTrusted, "x509: too many intermediates for path length constraint"},
		{errors.New("handshake failure"), Validation, "handshake failure"},
	} {
		if result, reason := Result(tt.err); result != tt.result || reason != tt.reason {
			t.Errorf("Result(%v) = %s, %q, want %s, %q", tt.err, result, reason, tt.result, tt.reason)
		}
	}
}

func TestFetchResult(t *testing.T) {
	for _, tt := range []struct {
		err    error
		broken bool
		want   string
	}{
		{errors.New("no version"), true, STSInvalid},
		{fmt.Errorf("get: %w", x509.UnknownAuthorityError{}), false, STSWebInvalid},
		{errors.New("connection refused"), false, STSFetchError},
	} {
		if got, _ := FetchResult(tt.err, tt.broken); got != tt.want {
			t.Errorf("FetchResult(%v, %t) = %s, want %s", tt.err, tt.broken, got, tt.want)
		}
	}
}
