package resolve

import (
	"bufio"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// readHosts reads a hosts(5) file; a missing or broken one is an empty one.
func readHosts(name string) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	eachLine(name, func(words []string) {
		ip, err := netip.ParseAddr(words[0])
		if err != nil {
			return
		}
		for _, host := range words[1:] {
			host = strings.ToLower(strings.TrimSuffix(host, "."))
			hosts[host] = append(hosts[host], ip)
		}
	})
	return hosts
}

// optionTrustAD tells whether a resolv.conf(5) file says that the path to its
// servers is safe, so that their AD bit means something.
func optionTrustAD(name string) bool {
	trusted := false
	eachLine(name, func(words []string) {
		if words[0] == "options" && slices.Contains(words[1:], "trust-ad") {
			trusted = true
		}
	})
	return trusted
}

// eachLine calls f with the words of each line of a file that has any, comments
// left out.
func eachLine(name string, f func(words []string)) {
	file, err := os.Open(name)
	if err != nil {
		return
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if words := strings.Fields(line); len(words) > 0 {
			f(words)
		}
	}
}
