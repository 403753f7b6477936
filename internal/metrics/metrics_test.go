package metrics

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func page(t *testing.T, s *Set) string {
	t.Helper()
	var b strings.Builder
	n, err := s.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v, want %d", n, err, b.Len())
	}
	return b.String()
}

func TestThePageIsInTheTextFormat(t *testing.T) {
	s := &Set{}
	received := s.Counters("received_total", "letters taken", "proto", "way")
	received.With("ESMTP", "direct").Inc()
	received.With("ESMTP", "direct").Inc()
	received.With("LMTP", "a\"b\\c\nd\xff").Inc()
	s.Counters("plain_total", "no labels").With().Inc()
	open := s.Gauge("open", "connections")
	open.Add(3)
	open.Add(-1)
	h := s.Histogram("took_seconds", "how long", time.Millisecond, time.Second)
	for _, d := range []time.Duration{time.Millisecond, 2 * time.Millisecond, time.Second, time.Minute} {
		h.Observe(d)
	}
	s.Collect(func(p *Page) {
		p.Head("now", "read when asked", "gauge")
		p.Sample("now", []string{"a", "b"}, 0.5)
	})
	const want = `# HELP received_total letters taken
# TYPE received_total counter
received_total{proto="ESMTP",way="direct"} 2
received_total{proto="LMTP",way="a\"b\\c\nd?"} 1
# HELP plain_total no labels
# TYPE plain_total counter
plain_total 1
# HELP open connections
# TYPE open gauge
open 2
# HELP took_seconds how long
# TYPE took_seconds histogram
took_seconds_bucket{le="0.001"} 1
took_seconds_bucket{le="1"} 3
took_seconds_bucket{le="+Inf"} 4
took_seconds_sum 61.003
took_seconds_count 4
# HELP now read when asked
# TYPE now gauge
now{a="b"} 0.5
`
	if got := page(t, s); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	s := &Set{}
	c := s.Counters("n_total", "x", "name", "more")
	var all sync.WaitGroup
	for i := range 10 * maxSeries {
		all.Go(func() { c.With(fmt.Sprint(i), "y").Inc() })
	}
	all.Wait()
	got := page(t, s)
	if n := strings.Count(got, "n_total{"); n != maxSeries+1 {
		t.Errorf("%d series, want %d and one for the others", n, maxSeries)
	}
	if want := fmt.Sprintf(`n_total{name="other",more="other"} %d`, 9*maxSeries); !strings.Contains(got, want+"\n") {
		t.Errorf("no %s", want)
	}
}

func TestNilMetricsCountNothing(t *testing.T) {
	var c *Counters
	var h *Histogram
	var g *Gauge
	c.With("x").Inc()
	h.Observe(time.Second)
	g.Add(1)
}

func BenchmarkWith(b *testing.B) {
	s := &Set{}
	c := s.Counters("n_total", "x", "name")
	for b.Loop() {
		c.With("RCPT").Inc()
	}
}
