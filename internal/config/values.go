package config

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postbag/internal/status"
)

// A source says where a value comes from.
type source struct {
	kind  string // flag, environment, file, default
	where string // "--spool", "POSTBAG_SPOOL", "FILE:LINE"
}

// A value is one setting in force.
type value struct {
	setting Setting
	texts   []string // one for all but lists
	source  source
}

// Values are the settings of one run, all of them checked. Getters of settings
// that the program does not have panic: that is a mistake in the program.
type Values struct {
	program  *Program
	byName   map[string]*value
	Operands []string // what follows the flags
	File     string   // the configuration file that was read, or ""
	Warnings []string
	Broken   bool // a lenient program goes without what is wrong with its configuration

	configFlag string // --config
	again      func() (*Values, error)

	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

func (v *Values) get(name string) *value {
	val := v.byName[name]
	if val == nil {
		panic("config: " + v.program.Name + " has no setting " + name)
	}
	return val
}

// Program is the name of the program.
func (v *Values) Program() string { return v.program.Name }

// StderrTaken reports whether the process's standard error is a connection with a
// client. Stderr is something else then.
func (v *Values) StderrTaken() bool { return v.program.taken }

// Has reports whether the program has a setting.
func (v *Values) Has(name string) bool { return v.byName[name] != nil }

// IsSet reports whether a setting has a value that is not its default.
func (v *Values) IsSet(name string) bool { return v.get(name).source.kind != "default" }

// Where says where the value of a setting comes from.
func (v *Values) Where(name string) string { return v.get(name).source.where }

// Unusable is the error of a setting whose value is well formed, but names what
// cannot be used. A file that is missing and was named on the command line has exit
// code 66, everything else 78.
func (v *Values) Unusable(name string, err error) error {
	var file *iofs.PathError
	if errors.As(err, &file) && errors.Is(err, iofs.ErrNotExist) {
		return v.get(name).missing(file.Path)
	}
	return status.Exit(status.ExConfig, name, err)
}

// FromFlag reports whether it was given on the command line.
func (v *Values) FromFlag(name string) bool { return v.get(name).source.kind == "flag" }

// Given is String of what somebody has set; "" for a default.
func (v *Values) Given(name string) string {
	if !v.IsSet(name) {
		return ""
	}
	return v.String(name)
}

// String gives a text; "" when it is not set and has no default.
func (v *Values) String(name string) string {
	texts := v.get(name).texts
	if len(texts) == 0 {
		return ""
	}
	return texts[len(texts)-1]
}

// Strings gives a list.
func (v *Values) Strings(name string) []string { return slices.Clone(v.get(name).texts) }

// Bool gives a switch.
func (v *Values) Bool(name string) bool {
	b, _ := strconv.ParseBool(v.String(name))
	return b
}

// Int gives a number.
func (v *Values) Int(name string) int {
	n, _ := strconv.Atoi(v.String(name))
	return n
}

// Duration gives a time span; 0 when it is not set.
func (v *Values) Duration(name string) time.Duration {
	d, _ := ParseDuration(v.String(name))
	return d
}

// Size gives a number of octets.
func (v *Values) Size(name string) int64 {
	n, _ := ParseSize(v.String(name))
	return n
}

// Nets gives a list of networks.
func (v *Values) Nets(name string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range v.Strings(name) {
		if p, err := ParseNet(s); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// Flags gives the flags that set these settings as this command line did, for
// another program that has them too.
func (v *Values) Flags(settings []Setting) []string {
	var flags []string
	if v.configFlag != "" {
		flags = append(flags, "--config="+v.configFlag)
	}
	for _, s := range settings {
		if !v.FromFlag(s.Name) {
			continue
		}
		texts := v.get(s.Name).texts
		if len(texts) == 0 {
			texts = []string{""} // the empty list
		}
		for _, t := range texts {
			flags = append(flags, "--"+s.Name+"="+t)
		}
	}
	return flags
}

// Reload finds all settings anew: the file may have changed. Flags and
// environment are still those of the start.
func (v *Values) Reload() (*Values, error) { return v.again() }

// Changed names the settings that have other values than before.
func (v *Values) Changed(before *Values) []string {
	var all []string
	for _, s := range v.program.Settings {
		if !slices.Equal(v.get(s.Name).texts, before.get(s.Name).texts) {
			all = append(all, s.Name)
		}
	}
	return all
}

// override sets a value that was derived from others.
func (v *Values) override(name, where string, texts ...string) {
	val := v.get(name)
	val.texts, val.source = texts, source{"default", where}
}

// check says what is wrong with one text of a setting.
func (s Setting) check(text string) error {
	var err error
	switch s.Kind {
	case Switch:
		if _, err = strconv.ParseBool(text); err != nil {
			err = fmt.Errorf("%q is neither true nor false", text)
		}
	case Number:
		if n, nerr := strconv.ParseInt(text, 10, 32); nerr != nil || n < 0 {
			err = fmt.Errorf("%q is no number", text)
		}
	case Duration:
		_, err = ParseDuration(text)
	case Size:
		_, err = ParseSize(text)
	}
	if err == nil && len(s.OneOf) > 0 && !slices.Contains(s.OneOf, text) {
		err = fmt.Errorf("%q is none of %s", text, strings.Join(s.OneOf, ", "))
	}
	if err == nil && s.Valid != nil {
		err = s.Valid(text)
	}
	return err
}

var units = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}

// ParseDuration reads 90s, 5m, 4h, 5d, 1w, and these in a row: 1h30m. As in
// Sendmail, a time has to have a unit; 0 may stand alone.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no time, as 90s, 5m, 4h or 5d", s)
	if s == "0" {
		return 0, nil
	}
	if s == "" {
		return 0, bad
	}
	var total time.Duration
	for rest := s; rest != ""; {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 {
			return 0, bad
		}
		n, err := strconv.ParseInt(rest[:end], 10, 64)
		unit, ok := units[rest[end]]
		if err != nil || !ok || n > int64(math.MaxInt64/unit) || total > math.MaxInt64-time.Duration(n)*unit {
			return 0, bad
		}
		total += time.Duration(n) * unit
		rest = rest[end+1:]
	}
	return total, nil
}

// ParseSize reads a number of octets: 1000, 20K, 50M, 1G, 1T (powers of 1024),
// with B or iB behind if one likes.
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("%q is no size, as 1000, 20K or 50M", s)
	number := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I")
	shift := 0
	if number != "" {
		if at := strings.IndexByte("KMGT", number[len(number)-1]); at >= 0 {
			shift, number = 10*(at+1), number[:len(number)-1]
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, bad
	}
	return n << shift, nil
}
