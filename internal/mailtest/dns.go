package mailtest

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNS is a small name server on the loopback, for tests and the demo: it is
// authoritative for everything, answers from the records that it was given, and
// says NXDOMAIN to the rest.
type DNS struct {
	Addr string // host:port, UDP and TCP

	mu      sync.Mutex
	records map[string][]dns.RR // by lower-case owner name with final dot
	refuse  map[string]int      // names that are answered with an rcode
	asked   map[string]int
	servers []*dns.Server
}

// StartDNS serves records in the form of a zone file, such as
// "example.org. 60 IN MX 10 mx.example.org.", until Close.
func StartDNS(records ...string) (*DNS, error) {
	d := &DNS{records: map[string][]dns.RR{}, refuse: map[string]int{}, asked: map[string]int{}}
	if err := d.Add(records...); err != nil {
		return nil, err
	}
	udp, tcp, err := samePort()
	if err != nil {
		return nil, fmt.Errorf("listen for dns: %w", err)
	}
	d.Addr = udp.LocalAddr().String()
	d.servers = []*dns.Server{{PacketConn: udp, Handler: d}, {Listener: tcp, Handler: d}}
	for _, s := range d.servers {
		go s.ActivateAndServe()
	}
	return d, nil
}

// samePort opens one free loopback port for UDP and TCP.
func samePort() (net.PacketConn, net.Listener, error) {
	var failed error
	for range 20 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp, nil
		}
		udp.Close()
		failed = err
	}
	return nil, nil, failed
}

// Add adds records to those served.
func (d *DNS) Add(records ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			return fmt.Errorf("record %q: %w", text, err)
		}
		name := strings.ToLower(rr.Header().Name)
		d.records[name] = append(d.records[name], rr)
	}
	return nil
}

// Fail answers every question about name with rcode, as dns.RcodeServerFailure.
func (d *DNS) Fail(name string, rcode int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse[strings.ToLower(dns.Fqdn(name))] = rcode
}

// Asked returns how many questions about name have come.
func (d *DNS) Asked(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[strings.ToLower(dns.Fqdn(name))]
}

// Close ends the server.
func (d *DNS) Close() error {
	for _, s := range d.servers {
		// Shutdown fails only before the server has begun; then there is
		// nothing to wait for but that beginning.
		for s.Shutdown() != nil {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// ServeDNS answers one query.
func (d *DNS) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable, reply.AuthenticatedData = true, true
	d.answer(reply, query.Question[0])
	if w.LocalAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if opt := query.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		reply.Truncate(size)
	}
	w.WriteMsg(reply)
}

func (d *DNS) answer(reply *dns.Msg, q dns.Question) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := strings.ToLower(q.Name)
	d.asked[name]++
	if rcode, ok := d.refuse[name]; ok {
		reply.Rcode = rcode
		return
	}
	known, ok := d.records[name]
	if !ok {
		reply.Rcode = dns.RcodeNameError
	}
	for _, rr := range known {
		if t := rr.Header().Rrtype; t == q.Qtype || t == dns.TypeCNAME {
			reply.Answer = append(reply.Answer, rr)
		}
	}
}
