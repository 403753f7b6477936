package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postbag/internal/popclient"
)

// curl is the client when it is installed; else the demo's own.
func hasCurl() bool {
	_, err := exec.LookPath("curl")
	return err == nil
}

func clientName(proto string) string {
	if hasCurl() {
		return "curl"
	}
	return "a small " + strings.ToUpper(proto) + " client of the demo's own"
}

func (h *host) url(proto string) string { return proto + "://" + h.addr[proto] }

func (h *host) curl(url string, args ...string) ([]byte, error) {
	cmd := exec.Command("curl", append([]string{"-s", "-S", "--user", h.user + ":" + password, url}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("curl %s: %w: %s", url, err, errs.String())
	}
	return out, nil
}

// readPOP gives all letters of the user by POP3.
func (h *host) readPOP() ([][]byte, error) {
	if !hasCurl() {
		return h.readPOPSelf()
	}
	list, err := h.curl(h.url("pop3"))
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for i := range strings.Count(strings.TrimSpace(string(list)), "\n") + 1 {
		if len(bytes.TrimSpace(list)) == 0 {
			break
		}
		text, err := h.curl(h.url("pop3") + "/" + strconv.Itoa(i+1))
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

// readIMAP gives them by IMAP.
func (h *host) readIMAP() ([][]byte, error) {
	if !hasCurl() {
		return h.readIMAPSelf()
	}
	found, err := h.curl(h.url("imap")+"/INBOX", "-X", "UID SEARCH ALL")
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, uid := range strings.Fields(strings.TrimPrefix(strings.TrimSpace(string(found)), "* SEARCH")) {
		text, err := h.curl(h.url("imap") + "/INBOX/;UID=" + uid)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

// runFetch pulls the user's mailbox by IMAP into a Maildir.
func (h *host) runFetch(to string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(h.addr["imap"])
	cmd := h.command("fetch", "--tls", "off", "--to", "maildir:"+to, "--state", filepath.Join(filepath.Dir(to), "state"),
		fmt.Sprintf("imap://%s@127.0.0.1:%s/INBOX", h.user, port))
	cmd.Env = append(cmd.Env, "POSTBAG_FETCH_PASSWORD="+password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("fetch: %w: %s", err, out)
	}
	letters, err := readMaildir(to)
	return fmt.Sprintf("%d letters are there", len(letters)), err
}

// readMaildir gives the letters of a Maildir.
func readMaildir(dir string) ([][]byte, error) {
	var all [][]byte
	for _, sub := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, sub, f.Name()))
			if err != nil {
				return nil, err
			}
			all = append(all, b)
		}
	}
	return all, nil
}

const patience = 20 * time.Second

// readPOPSelf needs no other program.
func (h *host) readPOPSelf() ([][]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", h.addr["pop3"])
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	return popLetters(nc, h.user)
}

func popLetters(nc net.Conn, user string) ([][]byte, error) {
	c, err := popclient.New(nc, patience)
	if err != nil {
		return nil, err
	}
	if err := c.Login(user, password); err != nil {
		return nil, err
	}
	n, _, err := c.Stat()
	if err != nil {
		return nil, err
	}
	var all [][]byte
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i + 1
	}
	err = c.Retrieve(numbers, func(_ int, r io.Reader) error {
		text, err := io.ReadAll(r)
		all = append(all, text)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, c.Quit()
}

// readIMAPSelf needs no other program either.
func (h *host) readIMAPSelf() ([][]byte, error) {
	c, err := imapclient.DialInsecure(h.addr["imap"], nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Login(h.user, password).Wait(); err != nil {
		return nil, err
	}
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages == 0 {
		return nil, err
	}
	var every imap.SeqSet
	every.AddRange(1, 0)
	section := &imap.FetchItemBodySection{Peek: true}
	letters, err := c.Fetch(every, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, l := range letters {
		all = append(all, l.FindBodySection(section))
	}
	return all, c.Logout().Wait()
}
