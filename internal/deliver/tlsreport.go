package deliver

import (
	"bufio"
	"errors"
	"net/netip"
	"strings"

	"postbag/internal/address"
	"postbag/internal/message"
	"postbag/internal/recipient"
	"postbag/internal/smtpout"
	"postbag/internal/tlsreport"
)

// TLSReports is told how TLS with hosts of a domain went: *tlsreport.Recorder.
type TLSReports interface{ Note(s tlsreport.Session) }

// told has it told how TLS with a hop goes.
func (r *Remote) told(hop smtpout.Hop, d recipient.Destination, by tlsreport.Policy) smtpout.Hop {
	if r.Reports == nil || !hop.Foreign {
		return hop
	}
	hop.Told = func(h smtpout.Handshake) {
		unusable := by.Kind == tlsreport.TLSA && hop.Verify == nil // RFC 7672 section 2.2: any certificate will do
		if h.Err == nil && !unusable {
			r.Reports.Note(tlsreport.Session{Domain: reported(d), Policy: by})
			return
		}
		f := &tlsreport.Failure{Result: tlsreport.NoSTARTTLS, From: ipText(h.From), MX: hop.Host, To: ipText(h.To)}
		switch {
		case h.Err == nil: // RFC 8460 section 4.3.2.1
			f.Result = tlsreport.TLSAInvalid
		case !errors.Is(h.Err, smtpout.ErrNoTLS):
			f.Result, f.Reason = tlsreport.Result(h.Err)
		}
		r.fail(d, by, f)
	}
	return hop
}

func (r *Remote) fail(d recipient.Destination, by tlsreport.Policy, f *tlsreport.Failure) {
	if r.Reports != nil {
		r.Reports.Note(tlsreport.Session{Domain: reported(d), Policy: by, Failure: f})
	}
}

func noRecords(hop smtpout.Hop, err error) *tlsreport.Failure {
	_, reason := tlsreport.Result(err)
	return &tlsreport.Failure{Result: tlsreport.DNSSECInvalid, MX: hop.Host, Reason: reason}
}

func ipText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// reported is the domain that a report is for.
func reported(d recipient.Destination) string {
	name, err := address.DomainASCII(d.Address.Domain)
	if err != nil {
		return d.Address.Domain
	}
	return strings.ToLower(name)
}

// refusesTLS reports whether a letter says "TLS-Required: No".
func (m Mail) refusesTLS() (bool, error) {
	header, err := m.header()
	if err != nil {
		return false, err
	}
	values := header.Values("TLS-Required")
	return len(values) == 1 && strings.EqualFold(strings.TrimSpace(values[0]), "No"), nil
}

// header reads that of a letter.
func (m Mail) header() (*message.Header, error) {
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	const limit = 1 << 20
	return message.ReadHeader(bufio.NewReader(r), limit)
}
