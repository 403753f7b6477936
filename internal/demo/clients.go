package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// readByClients reads them with the programs that people have, where they are
// installed.
func (d *demo) readByClients() error {
	for _, c := range []struct {
		needs []string
		what  string
		read  func(to string) error
	}{
		{[]string{"mbsync"}, "mbsync copies them, through `imapd --inetd --preauth bert` on a pipe", d.second.mbsync},
		{[]string{"mutt", "script"}, "mutt copies them, by IMAP", d.second.mutt},
	} {
		if missing := notInstalled(c.needs); missing != "" {
			headline(c.what + ": left out, for " + missing + " is not installed")
			continue
		}
		headline(c.what)
		to := filepath.Join(d.dir, c.needs[0])
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		if err := c.read(to); err != nil {
			return err
		}
		got, err := readMaildir(filepath.Join(to, "INBOX"))
		if err != nil {
			return err
		}
		for i := range got {
			got[i] = added.ReplaceAll(got[i], nil)
		}
		if err := d.compare(got); err != nil {
			return err
		}
	}
	return nil
}

// added are fields that clients put into a letter that they copy.
var added = regexp.MustCompile(`(?m)^(?:X-TUID|Content-Length|Lines): \S+\n`)

func notInstalled(programs []string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}

// mbsync runs imapd itself, which then needs neither a port nor a password.
func (h *host) mbsync(to string) error {
	tunnel := strings.Join(h.command("imapd", "--inetd", "--preauth", h.user, "--log-level", "error").Args, " ")
	rc := fmt.Sprintf("IMAPStore far\nTunnel \"%s\"\n\nMaildirStore near\nPath %s/\nInbox %[2]s/INBOX\n\nChannel all\nFar :far:\nNear :near:\nSync Pull\nCreate Near\nSyncState *\n", tunnel, to)
	file := filepath.Join(to, "mbsyncrc")
	if err := os.WriteFile(file, []byte(rc), 0o600); err != nil {
		return err
	}
	cmd := exec.Command("mbsync", "-q", "-c", file, "all")
	cmd.Env = append(environ(), "HOME="+to)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mbsync: %w: %s", err, out)
	}
	return nil
}

// mutt is driven by keys, on a terminal that script(1) makes.
func (h *host) mutt(to string) error {
	box := filepath.Join(to, "INBOX")
	rc := fmt.Sprintf(`set imap_user="%[1]s" imap_pass="%[2]s" ssl_starttls=no ssl_force_tls=no imap_check_subscribed=no
set folder="%[4]s" mbox_type=Maildir copy=no confirmcreate=no confirmappend=no quit=yes delete=no mark_old=no wait_key=no sleep_time=0
set header_cache="" message_cachedir="" imap_keepalive=300 timeout=5
push "<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>%[3]s<enter><exit>"
`, h.user, password, box, to)
	file := filepath.Join(to, "muttrc")
	if err := os.WriteFile(file, []byte(rc), 0o600); err != nil {
		return err
	}
	cmd := exec.Command("script", "-qec", fmt.Sprintf("mutt -n -F %s -f %s/INBOX", file, h.url("imap")), "/dev/null")
	cmd.Env = append(environ(), "HOME="+to, "TERM=vt100", "LC_ALL=C.UTF-8")
	keys, err := cmd.StdinPipe() // at the end of which script would end, too
	if err != nil {
		return err
	}
	defer keys.Close()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mutt: %w: %s", err, out)
	}
	return nil
}
