package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postbag/internal/mailtest"
)

// A host of several users, served by root: ann and bob have uids of their own and
// their mail in the spool, carl has none, eve has a Maildir that is a link to bob's.
type host struct {
	*testing.T
	root, spool, bin string
	imap, pop3, smtp string
}

func startHost(t *testing.T, expected ...string) *host {
	root := mailtest.RootDir(t)
	h := &host{T: t, root: root, spool: filepath.Join(root, "spool")}
	users := "ann:{PLAIN}secret:1500:1501\nbob:{PLAIN}secret:1600:1601\ncarl:{PLAIN}secret\n" +
		"eve:{PLAIN}secret:1700:1701::/nowhere::userdb_mail=maildir:" + root + "/eve/Maildir\nroot:{PLAIN}secret:0:0\n"
	h.must(errors.Join(
		os.WriteFile(root+"/users", []byte(users), 0o600), os.WriteFile(root+"/secret", []byte("Subject: of root\n\n"), 0o600),
		os.Mkdir(root+"/eve", 0o700), os.Chown(root+"/eve", 1700, 1701), os.Symlink(h.mail("bob"), root+"/eve/Maildir"),
		os.Lchown(root+"/eve/Maildir", 1700, 1701)))
	h.bin = buildAll(t, "imapd", "popd", "smtpd")
	h.imap = startDaemon(t, h.bin+"/imapd", "imap", h.spool, root+"/users", expected...)
	h.pop3 = startDaemon(t, h.bin+"/popd", "pop3", h.spool, root+"/users", expected...)
	h.smtp = startDaemon(t, h.bin+"/smtpd", "smtp", h.spool, root+"/users", expected...)
	return h
}

// in is the host as a part of a test sees it.
func (h host) in(t *testing.T) *host {
	h.T = t
	return &h
}

func (h *host) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) mail(who string) string { return filepath.Join(h.spool, "mail", who) }

// login gives a session of IMAP, which sends what it is told of to news.
func (h *host) login(who string, news chan<- uint32) (*imapclient.Client, error) {
	h.Helper()
	told := &imapclient.UnilateralDataHandler{Mailbox: func(m *imapclient.UnilateralDataMailbox) {
		if m.NumMessages != nil && news != nil {
			news <- *m.NumMessages
		}
	}}
	c, err := imapclient.DialInsecure(h.imap, &imapclient.Options{UnilateralDataHandler: told})
	h.must(err)
	h.Cleanup(func() { c.Close() })
	return c, c.Login(who, "secret").Wait()
}

// deliver sends a letter by SMTP.
func (h *host) deliver(who, text string) {
	h.Helper()
	c, err := smtp.Dial(h.smtp)
	h.must(err)
	defer c.Close()
	h.must(errors.Join(c.Mail("x@example.org"), c.Rcpt(who+"@localhost")))
	w, err := c.Data()
	h.must(err)
	_, err = w.Write([]byte(text))
	h.must(errors.Join(err, w.Close(), c.Quit()))
}

// owners are those of all that is in a Maildir, as UID:GID.
func (h *host) owners(who string) (all map[string]bool, files int) {
	h.Helper()
	all = map[string]bool{}
	h.must(filepath.WalkDir(h.mail(who), func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a lock that is gone
		}
		st, serr := os.Lstat(path)
		if err = errors.Join(err, serr); err == nil {
			sys := st.Sys().(*syscall.Stat_t)
			all[fmt.Sprintf("%d:%d", sys.Uid, sys.Gid)] = true
			files++
		}
		return err
	}))
	return all, files
}

// texts are the letters of the selected folder; what cannot be read is "".
func texts(c *imapclient.Client) (all []string) {
	section := &imap.FetchItemBodySection{Peek: true}
	got, _ := c.Fetch(imap.SeqSet{{Start: 1}}, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	for _, m := range got {
		all = append(all, string(m.FindBodySection(section)))
	}
	return all
}

// work does to a mailbox what clients do, and leaves letters in INBOX and Kept.
func (h *host) work(who string) {
	h.Helper()
	c, err := h.login(who, nil)
	h.must(err)
	for _, text := range []string{"Subject: kept\r\n\r\n", "Subject: gone\r\n\r\n"} {
		a := c.Append("INBOX", int64(len(text)), nil)
		_, werr := a.Write([]byte(text))
		cerr := a.Close()
		_, aerr := a.Wait()
		h.must(errors.Join(werr, cerr, aerr))
	}
	_, serr := c.Select("INBOX", nil).Wait()
	_, cerr := c.Copy(imap.SeqSetNum(1), "Made").Wait()
	if cerr == nil {
		h.Error("copied to nowhere")
	}
	h.must(errors.Join(serr, c.Create("Made", nil).Wait(), c.Create("Short", nil).Wait()))
	_, cerr = c.Copy(imap.SeqSetNum(1), "Made").Wait()
	flags := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted, "custom"}}
	_, ferr := c.Store(imap.SeqSetNum(2), flags, nil).Collect()
	_, eerr := c.Expunge().Collect()
	h.must(errors.Join(cerr, ferr, eerr, c.Rename("Made", "Kept", nil).Wait(), c.Delete("Short").Wait(), c.Subscribe("Kept").Wait()))
	if got := strings.Join(texts(c), ""); !strings.Contains(got, "kept") || strings.Contains(got, "gone") {
		h.Errorf("%s has %q", who, got)
	}
	h.must(c.Logout().Wait())
}

func TestRootServesEachAccountInTheNameOfItsOwner(t *testing.T) {
	h := startHost(t, "permission denied", "nothing is read as root")
	t.Run("files belong to the owner", func(t *testing.T) { h.in(t).filesBelongToTheOwner() })
	t.Run("what comes is told", func(t *testing.T) { h.in(t).whatComesIsTold() })
	t.Run("links to what the owner may not read", func(t *testing.T) { h.in(t).linksGiveNothing() })
	t.Run("a Maildir that is a link, and one of root", func(t *testing.T) { h.in(t).isNotServed("eve", "root") })
	t.Run("a check mends in the name of the owner", func(t *testing.T) { h.in(t).checkMends("ann", "1500:1501") })
}

func (h *host) filesBelongToTheOwner() {
	for who, want := range map[string]string{"ann": "1500:1501", "bob": "1600:1601", "carl": "0:0"} {
		h.work(who)
		h.deliver(who, "Subject: delivered to "+who+"\r\n\r\n")
		h.pop(who, "kept", "delivered to "+who)
		if got, files := h.owners(who); len(got) != 1 || !got[want] || files < 15 {
			h.Errorf("the %d files of %s belong to %v, want %s", files, who, got, want)
		}
	}
}

// pop has POP3 read letters with these words, and delete them.
func (h *host) pop(who string, words ...string) {
	h.Helper()
	p := h.popLogin(who)
	h.must(p.err)
	numbers := p.list("UIDL")
	if len(numbers) != len(words) {
		h.Fatalf("%s has %q, want %d letters", who, numbers, len(words))
	}
	for n, word := range words {
		if text := strings.Join(p.list(fmt.Sprintf("RETR %d", n+1)), "\n"); !strings.Contains(text, word) {
			h.Errorf("letter %d of %s is %q, want %q", n+1, who, text, word)
		}
		p.say(fmt.Sprintf("DELE %d", n+1))
	}
	p.say("QUIT")
	h.must(p.err)
}

func (h *host) popLogin(who string) *popper {
	h.Helper()
	c, err := net.Dial("tcp", h.pop3)
	h.must(err)
	h.Cleanup(func() { c.Close() })
	p := &popper{r: bufio.NewReader(c), w: c}
	p.line()
	p.say("USER " + who)
	p.say("PASS secret")
	return p
}

func (h *host) whatComesIsTold() {
	news := make(chan uint32, 100)
	c, err := h.login("ann", news)
	h.must(err)
	_, err = c.Select("INBOX", nil).Wait()
	h.must(err)
	for len(news) > 0 { // of SELECT itself
		<-news
	}
	idle, err := c.Idle()
	h.must(err)
	h.deliver("ann", "Subject: news\r\n\r\n")
	select {
	case <-news:
	case <-time.After(time.Minute):
		h.Error("not told of the letter")
	}
	h.must(errors.Join(idle.Close(), idle.Wait()))
}

func (h *host) linksGiveNothing() {
	h.deliver("bob", "Subject: of bob\r\n\r\n")
	his, err := filepath.Glob(h.mail("bob") + "/new/*")
	h.must(err)
	for n, target := range []string{h.root + "/secret", his[0]} {
		link := fmt.Sprintf("%s/cur/170000000%d.M1P1.host:2,", h.mail("ann"), n)
		h.must(errors.Join(os.Symlink(target, link), os.Lchown(link, 1500, 1501)))
	}
	folder := h.mail("ann") + "/.Bobs"
	h.must(errors.Join(os.Symlink(h.mail("bob"), folder), os.Lchown(folder, 1500, 1501)))
	c, err := h.login("ann", nil)
	h.must(err)
	data, err := c.Select("INBOX", nil).Wait()
	h.must(err)
	if data.NumMessages != 3 {
		h.Errorf("%d letters, want one and two links", data.NumMessages)
	}
	if got := strings.Join(texts(c), "\n"); !strings.Contains(got, "news") || strings.Contains(got, "of root") || strings.Contains(got, "of bob") {
		h.Errorf("ann reads %q", got)
	}
	if _, err := c.Select("Bobs", nil).Wait(); err == nil {
		h.Error("ann has selected the folder of bob")
	}
	p := h.popLogin("ann")
	for n := range 3 {
		if text := strings.Join(p.list(fmt.Sprintf("RETR %d", n+1)), "\n"); strings.Contains(text, "of root") || strings.Contains(text, "of bob") {
			h.Errorf("POP3 gives %q", text)
		}
		p.err = nil
	}
}

func (h *host) isNotServed(accounts ...string) {
	for _, who := range accounts {
		c, err := h.login(who, nil)
		if err == nil {
			_, err = c.Select("INBOX", nil).Wait()
		}
		if err == nil {
			h.Errorf("%s reads %q", who, texts(c))
		}
		if p := h.popLogin(who); p.err == nil {
			h.Errorf("%s reads %q", who, p.list("UIDL"))
		}
	}
	if got, _ := h.owners("bob"); len(got) != 1 {
		h.Errorf("the files of bob belong to %v", got)
	}
}

func (h *host) checkMends(who, want string) {
	dir := h.mail(who)
	h.must(errors.Join(os.Remove(dir+"/postbag.log"), os.Remove(dir+"/postbag.open")))
	out, err := exec.Command(h.bin+"/imapd", "check", dir, "--repair").CombinedOutput()
	var faults *exec.ExitError
	if err != nil && !errors.As(err, &faults) {
		h.Fatal(err)
	}
	if _, err := os.Stat(dir + "/postbag.log"); err != nil {
		h.Errorf("nothing is mended: %v: %s", err, out)
	}
	if got, _ := h.owners(who); len(got) != 1 || !got[want] {
		h.Errorf("files of %s belong to %v after a check", who, got)
	}
}
