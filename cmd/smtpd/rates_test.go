package main

import (
	"testing"
	"time"

	"postbag/internal/address"
	"postbag/internal/queue"
	"postbag/internal/recipient"
	"postbag/internal/route"
)

func TestTheMostSpecificRateCounts(t *testing.T) {
	rate := rates([]string{"100/1h", "slow.example=1/2s", ".example=5/1m", ".deep.example=6/1m", "smart.example.net=7/1d"})
	to := func(domain, url string) recipient.Destination {
		r, err := route.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		return recipient.Destination{Address: address.Address{Local: "x", Domain: domain}, Route: r}
	}
	for name, c := range map[string]struct {
		to   recipient.Destination
		want queue.Rate
	}{
		"a domain":                            {to("Slow.Example", "mx:"), queue.Rate{Letters: 1, In: 2 * time.Second}},
		"one below a domain":                  {to("a.other.example", "mx:"), queue.Rate{Letters: 5, In: time.Minute}},
		"one below a longer one":              {to("a.deep.example", "mx:"), queue.Rate{Letters: 6, In: time.Minute}},
		"what is below is not the domain":     {to("deep.example", "mx:"), queue.Rate{Letters: 5, In: time.Minute}},
		"all others":                          {to("far.test", "mx:"), queue.Rate{Letters: 100, In: time.Hour}},
		"the host of a route, not the domain": {to("slow.example", "smtp://smart.example.net"), queue.Rate{Letters: 7, In: 24 * time.Hour}},
		"a command is no destination":         {to("slow.example", "pipe:cat"), queue.Rate{}},
	} {
		if got := rate(c.to); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if rates(nil) != nil {
		t.Error("without rates each destination is looked up")
	}
}

func TestWhatIsNoRate(t *testing.T) {
	for _, s := range []string{"", "1", "1/", "/1m", "0/1m", "-1/1m", "1/0s", "a b=1/1m", "=1/1m", ".=1/1m", "x.example=", "1/1m/1m"} {
		if err := validRate(s); err == nil {
			t.Errorf("%q is taken for a rate", s)
		}
	}
}
