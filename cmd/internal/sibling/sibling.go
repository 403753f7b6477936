// Package sibling finds the other programs of this project.
package sibling

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"postbag/internal/status"
)

// Find gives the path of another of our programs: where this one lies, or in the
// bin or sbin beside that. PATH may have a mailq or smtpd of another mailer. It
// never finds this one under another name, or a program would call itself for
// ever.
func Find(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", name, err)
	}
	if target, err := filepath.EvalSymlinks(self); err == nil {
		self = target
	}
	me, err := os.Stat(self)
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", name, err)
	}
	dir := filepath.Dir(self)
	candidates := []string{filepath.Join(dir, name), filepath.Join(filepath.Dir(dir), "bin", name), filepath.Join(filepath.Dir(dir), "sbin", name)}
	for _, path := range candidates {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && !os.SameFile(st, me) {
			return path, nil
		}
	}
	return "", status.Exit(status.ExUnavailable, name, errors.New("program is not installed"))
}
