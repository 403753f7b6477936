package deliver

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"postbag/internal/recipient"
	"postbag/internal/route"
	"postbag/internal/smtpout"
	"postbag/internal/status"
	"postbag/internal/tlsreport"
	"postbag/internal/trust"
)

// Policies knows those of MTA-STS: *trust.STS.
type Policies interface {
	Policy(ctx context.Context, domain string) (trust.Policy, bool)
}

// securing is secure for a letter, which may not want it: with "TLS-Required: No"
// it goes whatever its hosts prove, by TLS if they have it (RFC 8689 section 5).
func (r *Remote) securing(ctx context.Context, d recipient.Destination, m Mail, hop smtpout.Hop, authentic bool) (smtpout.Hop, error) {
	if r.Reports != nil && m.From == r.ReportFrom {
		silent := *r // a report about a report would never end
		silent.Reports, r = nil, &silent
	}
	secure, err := r.secure(ctx, d, hop, authentic)
	if err == nil && secure.TLS == smtpout.Opportunistic {
		return secure, nil
	}
	if no, rerr := m.refusesTLS(); rerr == nil && no && !m.RequireTLS {
		return hop, nil
	}
	return secure, err
}

// secure adds to a hop what it has to prove: by DANE where the DNS was authentic
// all the way to it, else by the policy of the domain. An error means that the
// host must not have the letter now.
func (r *Remote) secure(ctx context.Context, d recipient.Destination, hop smtpout.Hop, authentic bool) (smtpout.Hop, error) {
	if authentic && r.TLSA != nil && !hop.LMTP {
		demand, ok, err := trust.DANE(ctx, r.TLSA, hop.Host, hop.Port, hop.Host, d.Address.Domain)
		if err != nil {
			r.fail(d, tlsreport.Policy{Kind: tlsreport.TLSA, Domain: hop.Host}, noRecords(hop, err))
			return hop, status.Temp("look up tlsa of "+hop.Host, "4.7.5", "TLSA records of host "+hop.Host+" cannot be had", err)
		}
		if ok {
			return r.told(demanding(hop, demand), d, tlsreport.Policy{Kind: tlsreport.TLSA, Strings: demand.Says, Domain: demand.Host}), nil
		}
	}
	if d.Route.Kind != route.MX {
		return hop, nil
	}
	if r.STS != nil {
		if policy, ok := r.STS.Policy(ctx, d.Address.Domain); ok {
			return r.secureByPolicy(d, hop, policy)
		}
	}
	return r.told(hop, d, tlsreport.Policy{Kind: tlsreport.NoPolicy, Domain: reported(d)}), nil
}

// secureByPolicy demands what a policy of MTA-STS wants. One that is only tested
// is told of as if it were in force (RFC 8461 section 5).
func (r *Remote) secureByPolicy(d recipient.Destination, hop smtpout.Hop, policy trust.Policy) (smtpout.Hop, error) {
	by := tlsreport.Policy{Kind: tlsreport.STS, Strings: policy.Says(), Domain: reported(d), MX: policy.MX}
	demand, ok, err := policy.Demand(hop.Host)
	if err != nil || !policy.Matches(hop.Host) {
		r.fail(d, by, tlsreport.NotInPolicy(hop.Host))
	}
	if err != nil {
		return hop, status.Temp("send to "+hop.Host, "4.7.10", "host "+hop.Host+" is not in the MTA-STS policy of "+d.Address.Domain, err)
	}
	switch {
	case ok:
		return r.told(demanding(hop, demand), d, by), nil
	case policy.Matches(hop.Host):
		hop.Watch = true
		hop = r.told(hop, d, by)
	}
	return hop, nil
}

// requireTLS demands of a hop what RFC 8689 section 4.2.1 does: TLS, with a
// certificate that is right for a name that we are sure of. What stays on this
// host needs none.
func requireTLS(hop smtpout.Hop, named bool) (smtpout.Hop, error) {
	switch {
	case onHost(hop), hop.TLS == smtpout.StartTLS, hop.TLS == smtpout.Implicit, hop.TLS == smtpout.Encrypt && hop.Verify != nil:
		return hop, nil
	case named:
		hop.TLS = smtpout.StartTLS
		return hop, nil
	}
	return hop, status.Perm("send to "+hop.Host, "5.7.30", "message requires TLS, and neither DNSSEC nor MTA-STS vouches for host "+hop.Host, errNotSure)
}

var errNotSure = errors.New("who should have the letter is not known for sure")

// onHost says that a hop of ours does not leave this host.
func onHost(hop smtpout.Hop) bool {
	return hop.Socket != "" || !hop.Foreign && len(hop.Addrs) > 0 && !slices.ContainsFunc(hop.Addrs, func(a netip.Addr) bool { return !a.IsLoopback() })
}

func demanding(hop smtpout.Hop, d trust.Demand) smtpout.Hop {
	hop.Proof, hop.Verify, hop.TLS, hop.ServerName = d.Name, d.Verify, smtpout.Encrypt, d.Host
	if d.Usual {
		hop.TLS = smtpout.StartTLS
	}
	return hop
}
