package wire

import (
	"fmt"
	"os"
	"sync/atomic"

	"postbag/internal/alias"
	"postbag/internal/auth"
	"postbag/internal/config"
	"postbag/internal/recipient"
	"postbag/internal/route"
)

// Recipients makes what knows where mail leads to. Where there is no users file,
// the accounts are those of the system.
func Recipients(v *config.Values, accounts *Accounts, maildirs auth.Template) (*recipient.Expander, error) {
	e := &recipient.Expander{
		Hostname: v.String("hostname"), Origin: v.String("origin"), Domains: v.Strings("domain"),
		RelayDomains: v.Strings("relay-domain"), Aliases: alias.Open(v.String("aliases")),
		Maildirs: maildirs, Delimiter: v.String("recipient-delimiter"),
	}
	if accounts.KnowWho() {
		e.Accounts = accounts
	} else {
		e.System = auth.OfHost(v.Given("maildir"), v.String("spool"))
	}
	if path := v.String("virtual"); path != "" {
		e.Virtual = alias.OpenVirtual(path)
	}
	var err error
	if e.Routes, err = readRoutes(v.String("routes"), route.Parse); err != nil {
		return nil, err
	}
	if e.Senders, err = readRoutes(v.String("sender-routes"), route.ParseSenders); err != nil {
		return nil, err
	}
	if urls := v.Strings("smarthost"); len(urls) > 0 {
		r, err := route.ParseHosts(urls)
		if err != nil {
			return nil, fmt.Errorf("smarthost: %w", err)
		}
		e.Smarthost = &r
	}
	return e, nil
}

func readRoutes(path string, parse func(name, text string) (*route.Table, error)) (*route.Table, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	return parse(path, string(text))
}

// ValidSmarthost checks the URL of a smarthost.
func ValidSmarthost(s string) error {
	_, err := route.ParseHosts([]string{s})
	return err
}

// A Swap holds an Expander that a reload replaces.
type Swap struct {
	p atomic.Pointer[recipient.Expander]
}

// Set replaces it.
func (s *Swap) Set(e *recipient.Expander) { s.p.Store(e) }

// Get gives the one in force.
func (s *Swap) Get() *recipient.Expander { return s.p.Load() }
