package mailtest

import (
	"os"
	"testing"
)

// RootDir is a directory of root that others can get to, with a name that is short
// enough for sockets. The test is skipped where we are not root: nobody else can
// work with the ids of others.
func RootDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can work with the ids of others")
	}
	dir, err := os.MkdirTemp("", "pb")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	return dir
}
