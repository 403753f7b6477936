package mailbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
)

// A letter that belongs to somebody else can be read, though the time of its
// reading cannot be left as it is.
func TestALetterOfSomebodyElseIsRead(t *testing.T) {
	dir := mailtest.RootDir(t)
	path := filepath.Join(dir, "letter")
	err := errors.Join(os.WriteFile(path, []byte("text"), 0o644), os.Chmod(dir, 0o755), os.Chown(path, 1600, 1600))
	if err != nil {
		t.Fatal(err)
	}
	var f letterFile
	if err := f.open(durable.New().As(durable.Owner{UID: 1500, GID: 1500}), path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := make([]byte, 9)
	if n, err := f.readAt(text, 0); err != nil || string(text[:n]) != "text" {
		t.Errorf("%q, %v", text[:n], err)
	}
}
