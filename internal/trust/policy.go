package trust

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Mode says what a policy of MTA-STS wants.
type Mode string

// Modes of RFC 8461 section 5.
const (
	Enforce Mode = "enforce"
	Testing Mode = "testing"
	NoMode  Mode = "none"
)

// A Policy is one of MTA-STS.
type Policy struct {
	Mode   Mode
	MX     []string // patterns of hosts, in lower case
	MaxAge time.Duration
}

// Says are the lines of the policy, in the form of RFC 8460 section 4.4.
func (p Policy) Says() []string {
	all := []string{"version: STSv1", "mode: " + string(p.Mode)}
	for _, mx := range p.MX {
		all = append(all, "mx: "+mx)
	}
	return append(all, fmt.Sprintf("max_age: %d", p.MaxAge/time.Second))
}

// maxPolicyAge is the longest time that counts, RFC 8461 section 3.2.
const maxPolicyAge = 31557600 * time.Second

// ParsePolicy reads the text of a policy (RFC 8461 section 3.2). Keys that are not
// known are passed over; of keys that are there twice the first counts, but for
// mx.
func ParsePolicy(text string) (Policy, error) {
	var p Policy
	seen := map[string]bool{}
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			return Policy{}, fmt.Errorf("line %.40q has no colon", line)
		}
		value = strings.TrimSpace(value)
		if key == "mx" {
			p.MX = append(p.MX, strings.ToLower(strings.TrimSuffix(value, ".")))
			continue
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		if err := p.set(key, value); err != nil {
			return Policy{}, err
		}
	}
	return p, p.complete(seen)
}

func (p *Policy) set(key, value string) error {
	switch key {
	case "version":
		if value != "STSv1" {
			return fmt.Errorf("version %.20q is not known", value)
		}
	case "mode":
		p.Mode = Mode(value)
	case "max_age":
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || len(value) > 10 {
			return fmt.Errorf("max_age %.20q is no number of seconds", value)
		}
		p.MaxAge = min(time.Duration(n)*time.Second, maxPolicyAge)
	}
	return nil
}

func (p *Policy) complete(seen map[string]bool) error {
	switch {
	case !seen["version"]:
		return errors.New("version is missing")
	case p.Mode != Enforce && p.Mode != Testing && p.Mode != NoMode:
		return fmt.Errorf("mode %.20q is not known", p.Mode)
	case !seen["max_age"]:
		return errors.New("max_age is missing")
	case len(p.MX) == 0 && p.Mode != NoMode:
		return errors.New("mx is missing")
	}
	return nil
}

// Matches tells whether a host is one of the policy: its name, or one label more
// than that of a pattern that begins with "*." (RFC 8461 section 4.1).
func (p Policy) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	for _, pattern := range p.MX {
		if below, wild := strings.CutPrefix(pattern, "*."); wild && parent == below || pattern == host {
			return true
		}
	}
	return false
}

// recordID reads the record _mta-sts of a domain (RFC 8461 section 3.1): exactly
// one of several texts must be one.
func recordID(texts []string) (id string, ok bool) {
	for _, text := range texts {
		if !strings.HasPrefix(text, "v=STSv1;") && !strings.HasPrefix(text, "v=STSv1 ") {
			continue
		}
		if ok {
			return "", false
		}
		for _, field := range strings.Split(text, ";") {
			if value, is := strings.CutPrefix(strings.TrimSpace(field), "id="); is {
				id = value
			}
		}
		ok = true
	}
	return id, ok && isID(id)
}

func isID(s string) bool {
	notAlnum := func(c rune) bool { return !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') }
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, notAlnum)
}
