package wire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postbag/internal/maillog"
	"postbag/internal/metrics"
	"postbag/internal/netserve"
	"postbag/internal/status"
)

// Limits of who asks for metrics: a scraper sends a short request at once.
const (
	metricsHeader  = 8 << 10
	metricsTimeout = 10 * time.Second
)

// openMetrics makes the metrics that all daemons have, where --metrics asks for
// them. d.Metrics stays nil otherwise, and nothing is counted.
func (d *Daemon) openMetrics() error {
	if d.Values.String("metrics") == "" {
		return nil
	}
	if d.Values.Bool("inetd") {
		return status.Exit(status.ExUsage, "--metrics", errors.New("goes with a daemon, not with --inetd"))
	}
	d.Metrics = &metrics.Set{}
	d.Log.Count(d.Metrics)
	synced := d.Metrics.Histogram("postbag_sync_seconds", "time that a sync of a file or directory took", maillog.CommitBounds()...)
	d.FS.Synced = synced.Observe
	d.Commands = d.Metrics.Counters("postbag_commands_total", "commands of clients, of those that there are", "command")
	d.Metrics.Collect(process)
	return nil
}

// listenMetrics listens at --metrics; nil without it.
func (d *Daemon) listenMetrics() (net.Listener, error) {
	if d.Metrics == nil {
		return nil, nil
	}
	l, err := net.Listen("tcp", d.Values.String("metrics"))
	if err != nil {
		return nil, status.Exit(status.ExUnavailable, "metrics", err)
	}
	return l, nil
}

// serveMetrics answers until the program ends.
func (d *Daemon) serveMetrics(ctx context.Context, l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = d.Metrics.WriteTo(w)
	})
	server := &http.Server{
		Handler: mux, MaxHeaderBytes: metricsHeader, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(d.Log.Logger().Handler(), slog.LevelDebug),
	}
	d.Log.Listening(ctx, "metrics", l.Addr().String())
	go func() { _ = server.Serve(l) }()
}

// counts are the metrics of connections, where there are any.
func (d *Daemon) counts() netserve.Counts {
	if d.Metrics == nil {
		return netserve.Counts{}
	}
	return netserve.NewCounts(d.Metrics)
}

// process tells of this process, under the names that Prometheus's libraries use.
func process(p *metrics.Page) {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) == nil {
		p.Head("process_cpu_seconds_total", "processor time, of users and system", "counter")
		p.Sample("process_cpu_seconds_total", nil, time.Duration(use.Utime.Nano()+use.Stime.Nano()).Seconds())
	}
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return
	}
	pages, _ := strconv.Atoi(fields[1])
	p.Head("process_resident_memory_bytes", "memory in use", "gauge")
	p.Sample("process_resident_memory_bytes", nil, float64(pages*os.Getpagesize()))
}
