package tlsreport

import (
	"crypto/x509"
	"errors"
)

// Results of RFC 8460 section 4.3.
const (
	NoSTARTTLS     = "starttls-not-supported"
	HostMismatch   = "certificate-host-mismatch"
	Expired        = "certificate-expired"
	NotTrusted     = "certificate-not-trusted"
	Validation     = "validation-failure"
	DNSSECInvalid  = "dnssec-invalid"
	TLSAInvalid    = "tlsa-invalid"
	STSFetchError  = "sts-policy-fetch-error"
	STSInvalid     = "sts-policy-invalid"
	STSWebInvalid  = "sts-webpki-invalid"
	maxReason      = 200
	reasonMXNotSTS = "mx-not-in-policy"
)

// NotInPolicy is the failure of a host that a policy of MTA-STS does not name.
func NotInPolicy(mx string) *Failure {
	return &Failure{Result: Validation, MX: mx, Reason: reasonMXNotSTS}
}

// Result is what kind of failure an error of TLS is, with its text as far as the
// kind does not say it.
func Result(err error) (result, reason string) {
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return HostMismatch, ""
	case errors.As(err, &unknown):
		return NotTrusted, ""
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Expired, ""
	case errors.As(err, &invalid):
		return NotTrusted, cut(invalid.Error())
	}
	return Validation, cut(err.Error())
}

// FetchResult is what kind of failure it is that a policy of MTA-STS could not be
// had. broken says that it came, and cannot be understood.
func FetchResult(err error, broken bool) (result, reason string) {
	if broken {
		return STSInvalid, cut(err.Error())
	}
	if kind, _ := Result(err); kind != Validation {
		return STSWebInvalid, kind
	}
	return STSFetchError, cut(err.Error())
}

func cut(s string) string { return s[:min(len(s), maxReason)] }
