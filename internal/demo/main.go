// Demo sends real-looking letters the whole way through the six programs and
// tells what it does in a page that a newcomer understands: `make demo`.
//
// In a temporary folder it makes two complete hosts, each with its own smtpd,
// popd, imapd, spool, users and domain, and a small DNS server that gives their
// MX records. It sends a folder of letters from the first to the second, shows
// the queue while the second is down, reads them there by POP3 and by IMAP,
// pulls them with fetch, compares every octet, and makes one bounce. It exits
// with 1 if anything differs from what it should be.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the programs")
	keep := flag.Bool("keep", false, "keep the temporary folder")
	flag.Parse()
	if err := run(*bin, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(bin string, keep bool) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "postbag-demo.")
	if err != nil {
		return err
	}
	d := &demo{bin: bin, dir: dir}
	defer func() {
		d.stop()
		if err != nil {
			d.showLogs()
		}
		if keep || err != nil {
			fmt.Println("\nEverything is left in", dir)
			return
		}
		os.RemoveAll(dir)
	}()
	return d.play()
}
