package resolve

import (
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A conf says which servers are asked: fixed ones, or those of a resolv.conf(5)
// file, which is looked at now and then.
type conf struct {
	path  string // "": servers and trustAD are fixed
	trust bool   // the AD bit counts from all of them

	mu      sync.Mutex
	looked  time.Time
	servers []string // host:port
	trustAD bool
}

// confAge is how long what was read of the file counts.
const confAge = 5 * time.Second

// systemServer is asked where nothing says otherwise, as resolver(5) has it.
const systemServer = "127.0.0.1:53"

func (c *conf) get() (servers []string, trustAD bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.path != "" && time.Since(c.looked) > confAge {
		c.looked = time.Now()
		c.read()
	}
	return c.servers, c.trustAD || c.trust
}

// read reads the file. While it cannot be read, the servers from before are
// asked.
func (c *conf) read() {
	var servers []string
	file, err := dns.ClientConfigFromFile(c.path)
	switch {
	case err == nil:
		for _, s := range file.Servers {
			servers = append(servers, net.JoinHostPort(s, file.Port))
		}
	case !os.IsNotExist(err) && len(c.servers) > 0:
		return
	}
	if len(servers) == 0 {
		servers = []string{systemServer}
	}
	c.servers = servers
	c.trustAD = optionTrustAD(c.path) || !slices.ContainsFunc(servers, func(s string) bool { return !loopback(s) })
}
