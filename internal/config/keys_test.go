package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestKnownKeys holds the list of keys that a file may have for other programs
// against the settings that the commands declare.
func TestKnownKeys(t *testing.T) {
	files, err := filepath.Glob("../../cmd/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no commands found: %v", err)
	}
	declared := names(Join(Common, Recipients, Daemon, Relay, Own))
	setting := regexp.MustCompile(`\{Name: "([a-z-]+)",(.*)`)
	for _, file := range append(files, "../../cmd/internal/wire/wire.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range setting.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(m[2], "FlagOnly: true") {
				declared = append(declared, m[1])
			}
		}
	}
	for _, name := range knownKeys {
		if !slices.Contains(declared, name) {
			t.Errorf("%s is a known key and no setting", name)
		}
	}
	for _, name := range declared {
		if !slices.Contains(knownKeys, name) {
			t.Errorf("%s is a setting and no known key", name)
		}
	}
}
