package netserve

import (
	"crypto/tls"

	"postbag/internal/metrics"
)

// Counts are the metrics of connections. The zero Counts count nothing.
type Counts struct {
	accepted, refused, secured *metrics.Counters
	open                       *metrics.Gauge
}

// NewCounts makes them.
func NewCounts(set *metrics.Set) Counts {
	return Counts{
		accepted: set.Counters("postbag_connections_total", "connections that became sessions", "proto"),
		refused:  set.Counters("postbag_connections_refused_total", "connections that were one too many", "proto"),
		secured:  set.Counters("postbag_tls_total", "TLS handshakes, by version, or failed", "version"),
		open:     set.Gauge("postbag_connections", "connections that are open"),
	}
}

// handshake counts one of TLS.
func (c *Counts) handshake(t *tls.Conn, err error) {
	if err != nil {
		c.secured.With("failed").Inc()
		return
	}
	c.secured.With(tls.VersionName(t.ConnectionState().Version)).Inc()
}
