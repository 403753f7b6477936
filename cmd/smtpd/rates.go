package main

import (
	"fmt"
	"strconv"
	"strings"

	"postbag/internal/address"
	"postbag/internal/config"
	"postbag/internal/queue"
	"postbag/internal/recipient"
	"postbag/internal/route"
)

// rates finds the rate of a destination among those of --destination-rate; nil
// when there are none.
func rates(texts []string) func(recipient.Destination) queue.Rate {
	byDomain := map[string]queue.Rate{}
	for _, text := range texts {
		domain, rate, _ := parseRate(text) // which was checked when it was read
		byDomain[domain] = rate
	}
	if len(byDomain) == 0 {
		return nil
	}
	return func(d recipient.Destination) queue.Rate { return rateOf(byDomain, d) }
}

// rateOf looks for the domain of a destination, then for .domain of what it is
// below, then for the rate of all.
func rateOf(byDomain map[string]queue.Rate, d recipient.Destination) queue.Rate {
	var name string
	switch d.Route.Kind {
	case route.MX:
		name = d.Address.Domain
	case route.SMTP, route.LMTP:
		name = d.Route.Host
	default:
		return queue.Rate{} // no other host
	}
	name = address.DomainUnicode(name)
	rate, ok := byDomain[name]
	for !ok && name != "" {
		_, name, _ = strings.Cut(name, ".")
		if rate, ok = byDomain["."+name]; name == "" {
			rate = byDomain[""]
		}
	}
	return rate
}

// parseRate reads [DOMAIN=]N/TIME.
func parseRate(s string) (domain string, r queue.Rate, err error) {
	domain, rate, named := strings.Cut(s, "=")
	if !named {
		domain, rate = "", s
	} else if _, err := address.DomainASCII(strings.TrimPrefix(domain, ".")); err != nil {
		return "", r, fmt.Errorf("%q is no domain", domain)
	}
	n, in, _ := strings.Cut(rate, "/")
	r.Letters, err = strconv.Atoi(n)
	if err == nil {
		r.In, err = config.ParseDuration(in)
	}
	if err != nil || r.Letters <= 0 || r.In <= 0 {
		return "", r, fmt.Errorf("%q is not [DOMAIN=]N/TIME, as 100/1h", s)
	}
	if dot := strings.HasPrefix(domain, "."); dot {
		return "." + address.DomainUnicode(domain[1:]), r, nil
	}
	return address.DomainUnicode(domain), r, nil
}

func validRate(s string) error {
	_, _, err := parseRate(s)
	return err
}
