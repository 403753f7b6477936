package imapsrv

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postbag/internal/mime"
)

// nobody is who Dovecot works as where the tests run as root, which it does not
// let read mail.
const nobody = 65534

// An asker asks a server what it says of letters.
type asker struct {
	t  *testing.T
	w  io.Writer
	r  *bufio.Reader
	no int
}

// ask gives what a FETCH of one item is answered with, in a form in which equal
// values are equal: strings are quoted, names of types and parameters small, and
// what is not there is NIL.
func (a *asker) ask(letter int, item string) string {
	a.t.Helper()
	a.no++
	tag := fmt.Sprintf("t%d", a.no)
	fmt.Fprintf(a.w, "%s FETCH %d (%s)\r\n", tag, letter, item)
	answer := ""
	for {
		line, err := a.response()
		if err != nil {
			a.t.Fatalf("%s of letter %d: %v", item, letter, err)
		}
		if rest, tagged := strings.CutPrefix(line, tag+" "); tagged {
			status, _, _ := strings.Cut(rest, " ")
			return canonical(item, strings.TrimSpace(answer)+" "+status)
		}
		if strings.Contains(line, " FETCH (") {
			answer += line
		}
	}
}

var literalEnd = regexp.MustCompile(`\{(\d+)\}\r\n$`)

// response reads a line with its literals, which it quotes.
func (a *asker) response() (all string, err error) {
	for {
		line, err := a.r.ReadString('\n')
		m := literalEnd.FindStringSubmatch(line)
		if err != nil || m == nil {
			return all + line, err
		}
		n, _ := strconv.Atoi(m[1])
		b := make([]byte, n)
		if _, err := io.ReadFull(a.r, b); err != nil {
			return all, err
		}
		text := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(b))
		all += strings.TrimSuffix(line, m[0]) + `"` + text + `"`
	}
}

var emptySection = regexp.MustCompile(`(\[[0-9.A-Z]*\]) ""`)

func canonical(item, answer string) string {
	if strings.HasPrefix(item, "BODY.PEEK[") {
		return emptySection.ReplaceAllString(answer, "$1 NIL")
	}
	if strings.HasPrefix(item, "BODY") {
		return strings.ToLower(answer)
	}
	return answer
}

// letterFiles puts letters into the cur/ of a Maildir, in their order.
func letterFiles(t *testing.T, dir string, letters []brokenLetter) {
	t.Helper()
	for _, sub := range []string{"new", "cur", "tmp"} {
		os.MkdirAll(filepath.Join(dir, sub), 0o700)
	}
	for i, l := range letters {
		name := filepath.Join(dir, "cur", fmt.Sprintf("%d.M1P1.h:2,S", i+1))
		if err := os.WriteFile(name, []byte(l.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = %[1]s/log
ssl = no
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:%[1]s/mail
stats_writer_socket_path =
protocols = imap
`

// dovecotOn has Dovecot serve letters on a pipe, without its daemons.
func dovecotOn(t *testing.T, letters []brokenLetter) *asker {
	doveadm, err := exec.LookPath("doveadm")
	if err != nil {
		t.Skip("Dovecot is not installed")
	}
	home := t.TempDir()
	letterFiles(t, filepath.Join(home, "mail"), letters)
	os.Mkdir(filepath.Join(home, "run"), 0o755)
	conf := filepath.Join(home, "conf")
	os.WriteFile(conf, fmt.Appendf(nil, dovecotConf, home), 0o644)
	cmd := exec.Command(doveadm, "-c", conf, "exec", "imap")
	cmd.Env = append(os.Environ(), "HOME="+home, "USER=ann")
	if os.Getuid() == 0 {
		os.Chmod(filepath.Dir(home), 0o711)
		filepath.Walk(home, func(path string, _ os.FileInfo, _ error) error { return os.Lchown(path, nobody, nobody) })
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	w, err1 := cmd.StdinPipe()
	r, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); cmd.Wait() })
	a := &asker{t: t, w: w, r: bufio.NewReader(r)}
	if line, err := a.response(); !strings.HasPrefix(line, "* PREAUTH") {
		log, _ := os.ReadFile(filepath.Join(home, "log"))
		t.Fatalf("Dovecot says %q (%v) %s", line, err, log)
	}
	return a.examine()
}

// weOn has our server serve them.
func weOn(t *testing.T, letters []brokenLetter) *asker {
	f := newFixture(t)
	letterFiles(t, f.root, letters)
	c := f.dial()
	f.talk(c, "login\n")
	return (&asker{t: t, w: c, r: f.heard[c]}).examine()
}

func (a *asker) examine() *asker {
	fmt.Fprintf(a.w, "e EXAMINE INBOX\r\n")
	for {
		line, err := a.response()
		if err != nil {
			a.t.Fatal(err)
		}
		if strings.HasPrefix(line, "e ") {
			return a
		}
	}
}

// itemsOf are what is to be compared of a letter: all that its structure has.
func itemsOf(t *testing.T, text string) []string {
	items := []string{"ENVELOPE", "BODY", "BODYSTRUCTURE", "RFC822.SIZE", "BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]",
		"BODY.PEEK[HEADER.FIELDS (FROM SUBJECT X-Y)]", "BODY.PEEK[HEADER.FIELDS.NOT (FROM SUBJECT)]", "BODY.PEEK[1]<2.5>", "BODY.PEEK[7]"}
	root, err := mime.Parse(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return append(items, sectionsOf(root, "")...)
}

func sectionsOf(p *mime.Part, prefix string) (items []string) {
	if len(p.Children) == 0 && p.Message == nil && prefix == "" {
		return []string{"BODY.PEEK[1]", "BODY.PEEK[1.MIME]"}
	}
	if p.Message != nil {
		at := strings.TrimSuffix(prefix, ".")
		if at == "" {
			at = "1"
		}
		items = append(items, "BODY.PEEK["+at+".HEADER]", "BODY.PEEK["+at+".TEXT]")
		if len(p.Message.Children) > 0 {
			items = append(items, sectionsOf(p.Message, at+".")...)
		}
	}
	for i, c := range p.Children {
		at := prefix + strconv.Itoa(i+1)
		items = append(items, "BODY.PEEK["+at+"]", "BODY.PEEK["+at+".MIME]")
		items = append(items, sectionsOf(c, at+".")...)
	}
	return items
}

func TestBrokenLettersAsDovecotHasThem(t *testing.T) {
	theirs, ours := dovecotOn(t, brokenLetters), weOn(t, brokenLetters)
	for i, l := range brokenLetters {
		differs := false
		for _, item := range itemsOf(t, l.text) {
			got, want := ours.ask(i+1, item), theirs.ask(i+1, item)
			differs = differs || got != want
			if got != want && l.why == "" {
				t.Errorf("%s, %s\n\twe %s\n\tDovecot %s", l.what, item, got, want)
			}
		}
		if !differs && l.why != "" {
			t.Errorf("%s: we are said to differ, but do not", l.what)
		}
	}
}

// Structures of letters put together at random are Dovecot's, but for what has an
// explanation: multiparts without parts, messages that are encoded or have a
// multipart in them, what is said of a part that has no Content-Type, which Dovecot
// passes over, and one boundary for two multiparts, one in the other.
func TestRandomLettersAsDovecotHasThem(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := make([]brokenLetter, 400)
	for i := range letters {
		letters[i].text = randomLetter(random)
	}
	theirs, ours := dovecotOn(t, letters), weOn(t, letters)
	compared := 0
	for i, l := range letters {
		root, _ := mime.Parse(strings.NewReader(strings.ReplaceAll(l.text, "\n", "\r\n")))
		if explained(root) {
			continue
		}
		compared++
		for _, item := range []string{"ENVELOPE", "BODYSTRUCTURE"} {
			if got, want := ours.ask(i+1, item), theirs.ask(i+1, item); got != want {
				t.Errorf("%s of %q\n\twe %s\n\tDovecot %s", item, l.text, got, want)
			}
		}
	}
	if compared < len(letters)/2 {
		t.Errorf("only %d letters were compared", compared)
	}
}

func randomLetter(r *rand.Rand) string {
	text := ""
	for range r.IntN(4) {
		text += headLines[r.IntN(len(headLines))]
	}
	text += "\n"
	for range 1 + r.IntN(18) {
		if r.IntN(5) < 3 {
			text += bodyLines[r.IntN(len(bodyLines))]
		} else {
			text += headLines[r.IntN(len(headLines))]
		}
	}
	return text
}

func explained(p *mime.Part, outer ...string) bool {
	encoded := p.Header.Get("Content-Transfer-Encoding") != ""
	boundary := p.Param("boundary")
	switch declared, typed := p.Header.Lookup("Content-Type"); {
	case !typed && (encoded || p.Description != "" || p.Disposition != ""):
		return true
	case strings.HasPrefix(declared, "multipart/") && len(p.Children) == 0, boundary != "" && slices.Contains(outer, boundary):
		return true
	case p.Message != nil:
		return encoded || len(p.Message.Children) > 0 || explained(p.Message, outer...)
	case encoded && len(p.Children) > 0:
		return true
	}
	return slices.ContainsFunc(p.Children, func(c *mime.Part) bool { return explained(c, append(outer, boundary)...) })
}
