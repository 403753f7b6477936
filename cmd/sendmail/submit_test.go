package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/spool"
)

// build makes the program itself: users and signals need a process.
func build(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sendmail") // t.TempDir is not open to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "sendmail")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

func command(bin, spoolDir string, args ...string) *exec.Cmd {
	cmd := exec.Command(bin, append([]string{"--spool", spoolDir, "--hostname", "mx.example.org", "--domain", "mx.example.org"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	return cmd
}

func TestAnyUserMaySubmitIntoTheSpoolOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	bin := build(t)
	dir := filepath.Join(filepath.Dir(bin), "spool")
	s, err := spool.Open(durable.New(), dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const uid = 4711 // no login name either
	cmd := command(bin, dir, "ann")
	cmd.Stdin = strings.NewReader("Subject: x\n\ntext\n")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("sendmail: %v: %s", err, out)
	}
	ids, refused, err := s.TakeDrops(t.Context())
	if err != nil || len(refused) > 0 || len(ids) != 1 {
		t.Fatalf("TakeDrops = %v, %v, %v", ids, refused, err)
	}
	e, err := s.Lookup(t.Context(), ids[0])
	if err != nil || e.UID != uid || e.From.String() != "uid4711@mx.example.org" || e.To[0].Address.String() != "ann@mx.example.org" {
		t.Errorf("Lookup = %+v, %v", e, err)
	}
}

func TestASignalLeavesNothingInTheSpool(t *testing.T) {
	bin := build(t)
	dir := filepath.Join(t.TempDir(), "spool")
	cmd := command(bin, dir, "ann")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("Subject: x\n\n" + strings.Repeat("text\n", 100_000))); err != nil {
		t.Fatal(err)
	}
	await(t, filepath.Join(dir, "queue", "tmp", "*"))
	cmd.Process.Signal(syscall.SIGTERM)
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 75 || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("sendmail: %v: %s", err, errs.String())
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		if left, _ := filepath.Glob(filepath.Join(dir, "queue", sub, "*")); len(left) > 0 {
			t.Errorf("left: %s", left)
		}
	}
}

// await waits until there is a file.
func await(t *testing.T, pattern string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return
		}
	}
	t.Fatalf("there is no %s", pattern)
}

// TestAnyUserIsServedAtOnce: with a running smtpd what any user submits, by a
// letter or by SMTP, is in the mailbox without delay, and says who he was.
func TestAnyUserIsServedAtOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	bin := build(t)
	dir := filepath.Dir(bin)
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "smtpd"), "postbag/cmd/smtpd").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("ann:{PLAIN}x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	smtpd := command(filepath.Join(dir, "smtpd"), filepath.Join(dir, "spool"), "--users", users, "--listen", "smtp://127.0.0.1:0")
	if err := smtpd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { smtpd.Process.Signal(syscall.SIGTERM); smtpd.Wait() })
	await(t, filepath.Join(dir, "spool", "run", "queue"))
	for i, in := range []struct{ arg, text string }{
		{"ann", "Subject: x\n\ntext\n"},
		{"-bs", "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\nSubject: y\r\n\r\ntext\r\n.\r\nQUIT\r\n"},
	} {
		cmd := command(bin, filepath.Join(dir, "spool"), in.arg)
		cmd.Stdin = strings.NewReader(in.text)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sendmail %s: %v: %s", in.arg, err, out)
		}
		box := filepath.Join(dir, "spool", "mail", "ann", "new", "*")
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if got, _ := filepath.Glob(box); len(got) == i+1 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the letter of sendmail %s does not come", in.arg)
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "spool", "mail", "ann", "new", "*"))
	for _, f := range files {
		if text, err := os.ReadFile(f); err != nil || !bytes.Contains(text, []byte("from userid 4711)")) {
			t.Errorf("%v: %s", err, text)
		}
	}
}
