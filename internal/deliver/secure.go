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
	"postbag/internal/trust"
)

// Policies knows those of MTA-STS: *trust.STS.
type Policies interface {
	Policy(ctx context.Context, domain string) (trust.Policy, bool)
}

// secure adds to a hop what it has to prove: by DANE where the DNS was authentic
// all the way to it, else by the policy of the domain. An error means that the
// host must not have the letter now.
func (r *Remote) secure(ctx context.Context, d recipient.Destination, hop smtpout.Hop, authentic bool) (smtpout.Hop, error) {
	if authentic && r.TLSA != nil && !hop.LMTP {
		demand, ok, err := trust.DANE(ctx, r.TLSA, hop.Host, hop.Port, hop.Host, d.Address.Domain)
		if err != nil {
			return hop, status.Temp("look up tlsa of "+hop.Host, "4.7.5", "TLSA records of host "+hop.Host+" cannot be had", err)
		}
		if ok {
			return demanding(hop, demand), nil
		}
	}
	if d.Route.Kind != route.MX || r.STS == nil {
		return hop, nil
	}
	policy, ok := r.STS.Policy(ctx, d.Address.Domain)
	if !ok {
		return hop, nil
	}
	demand, ok, err := policy.Demand(hop.Host)
	if err != nil {
		return hop, status.Temp("send to "+hop.Host, "4.7.10", "host "+hop.Host+" is not in the MTA-STS policy of "+d.Address.Domain, err)
	}
	if ok {
		return demanding(hop, demand), nil
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
