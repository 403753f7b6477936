// Package trust says by what another host proves that it is the one that a letter
// is for, DANE (RFC 7672) and MTA-STS (RFC 8461), and by what a letter proves that
// it is from whom it says, SPF, DKIM and DMARC (Judge), and signs ours (Signer).
//
// DANE is for hosts whose names and addresses are signed in the DNS. Its records
// say what the host's certificate is; TLS is demanded then, and trouble with the
// records delays mail.
//
// MTA-STS is for domains that publish a policy over HTTPS: which hosts take their
// mail, each with a certificate of the usual authorities. A policy is kept on disk
// for as long as it says, one file for each domain:
//
//	DIR/DOMAIN	{"id": "...", "fetched": "...", "text": "version: STSv1..."}
//
// DANE goes before MTA-STS, and its failures are never mended by it (RFC 8461
// section 2).
package trust

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// A Demand is what a connection must prove.
type Demand struct {
	Name   string                          // what it comes from, with what tells it from others of that kind
	Host   string                          // whose certificate is asked for (SNI); "": that of the host's name
	Usual  bool                            // a certificate of the usual authorities for the name of the host
	Verify func(tls.ConnectionState) error // checks the certificate instead; with neither, any will do
	Says   []string                        // the records that demand it, in the form of RFC 8460 section 4.4
}

// errMismatch is in all errors about certificates that are not what was demanded.
var errMismatch = errors.New("certificate is not the one that was promised")

func mismatch(why string) error { return fmt.Errorf("%w: %s", errMismatch, why) }
