package mailtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dovecotPatience is how long Dovecot may take to start.
const dovecotPatience = 20 * time.Second

// StartDovecot starts one that ends with the test, in a directory with files; ROOT
// in them stands for that directory. The file conf is its configuration, whose log
// is ROOT/log. It is awaited until ready. The test is skipped where Dovecot is not
// installed or we are not root; one that does not start fails it.
func StartDovecot(t *testing.T, files map[string]string, ready func(root string) bool) (root string) {
	t.Helper()
	path, err := exec.LookPath("dovecot")
	if err != nil {
		t.Skip("dovecot is not installed")
	}
	root = RootDir(t)
	for name, text := range files {
		check(t, os.WriteFile(filepath.Join(root, name), []byte(strings.ReplaceAll(text, "ROOT", root)), 0o644))
	}
	cmd := exec.Command(path, "-F", "-c", filepath.Join(root, "conf"))
	check(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	for end := time.Now().Add(dovecotPatience); !ready(root); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(root, "log"))
			t.Fatalf("dovecot does not start: %s", log)
		}
	}
	return root
}
