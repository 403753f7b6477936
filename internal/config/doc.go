// Package config turns flags, environment, a TOML file and defaults into checked
// values, and runs a program with them. Only cmd/ imports it.
//
// A program says which settings it has:
//
//	func main() {
//		os.Exit(config.Main(config.Program{
//			Name:     "popd",
//			Usage:    "serve mailboxes over POP3",
//			Settings: config.Join(config.Common, config.Recipients, config.Daemon, own),
//			Run:      run,
//		}, os.Args))
//	}
//
//	func run(ctx context.Context, v *config.Values) error {
//		fmt.Println(v.String("hostname"), v.Strings("listen"), v.Duration("idle-timeout"))
//		return nil
//	}
//
// Order: flag, POSTBAG_<PROGRAM>_<FLAG>, POSTBAG_<FLAG>, the program's table in
// the file, the top of the file, the default. Each value is checked wherever it
// comes from; what is wrong is an error that says where it stands.
package config

import (
	"context"
	"io"
)

// A Kind is the type of a setting.
type Kind int

// Kinds of settings.
const (
	Text     Kind = iota // a string
	List                 // strings: repeated flag, comma-separated variable, TOML array
	Switch               // true or false
	Number               // an integer that is not negative
	Duration             // 90s, 5m, 4h, 5d
	Size                 // octets: 1000, 50M, 1G (binary multiples)
	Optional             // a text that may be missing: --name or --name=TEXT
)

// A Setting is one thing that can be set.
type Setting struct {
	Name     string // of the flag and of the key
	Arg      string // what the value is called in the help
	Usage    string
	Kind     Kind
	Default  string // as in the environment
	OwnOnly  bool   // not read from the top of the file, nor from POSTBAG_<FLAG>
	FlagOnly bool   // read from nowhere but the command line
	Secret   bool   // --print-config does not show it
	File     bool   // the path of a file; a missing one that was named is an error
	Hidden   bool   // not in the help
	OneOf    []string
	Valid    func(string) error // further check of one value
}

// A Program is one of the six.
type Program struct {
	Name     string
	Usage    string // one line
	Args     string // operands, for the help
	More     string // further lines of the help
	Settings []Setting
	Run      func(ctx context.Context, v *Values) error
	// Check lists what is wrong with the files that are named in the settings,
	// for --check; nil: nothing more than the settings themselves.
	Check func(ctx context.Context, v *Values) []error
	// Lenient is for sendmail: a broken configuration is a warning.
	Lenient bool

	Stdin          io.Reader // nil: the process's
	Stdout, Stderr io.Writer
	Environ        []string // nil: the process's

	taken bool // standard error is the client's; see ownStderr
}

// Join puts groups of settings together.
func Join(groups ...[]Setting) []Setting {
	var all []Setting
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// Version is set when the program is built.
var Version = "unknown"
