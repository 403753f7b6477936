package config

import (
	"bufio"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"postbag/internal/status"
)

const defaultFile = "/etc/postbag/postbag.toml"

// Files of a system's installation, and the spool.
const (
	SystemSpool = "/var/spool/postbag"
	systemUsers = "/etc/postbag/users"
)

// values finds and checks all settings.
func (p *Program) values(c *cli.Context) (*Values, error) {
	v := &Values{program: p, byName: map[string]*value{}, Operands: c.Args().Slice(), Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr}
	v.again = func() (*Values, error) { return p.values(c) }
	env := environment(p.Environ)
	f, err := p.openFile(c, env, v)
	if err != nil {
		return nil, err
	}
	for _, s := range p.Settings {
		val, err := p.value(c, env, f, s)
		if err != nil && p.Lenient && status.ExitCode(err) == status.ExConfig {
			v.without(err)
			val, err = defaultValue(s), nil
		}
		if err != nil {
			return nil, err
		}
		v.byName[s.Name] = val
	}
	v.Warnings = append(v.Warnings, p.unknownVariables(env)...)
	return v, p.derive(v, env)
}

func configError(err error) error { return &configFault{err} }

// A configFault is `FILE:LINE: key: why`, with nothing before it.
type configFault struct{ err error }

func (f *configFault) Error() string { return f.err.Error() }
func (f *configFault) Unwrap() error { return status.Exit(status.ExConfig, "configuration", f.err) }

// openFile reads the configuration: the one that was named, or the default one
// where it exists. For a lenient program a broken one is none.
func (p *Program) openFile(c *cli.Context, env map[string]string, v *Values) (*file, error) {
	path, named := c.String("config"), ""
	v.configFlag = path
	switch {
	case path != "":
		named = "--config"
	case env[p.variable("config")] != "":
		path, named = env[p.variable("config")], "environment"
	case env["POSTBAG_CONFIG"] != "":
		path, named = env["POSTBAG_CONFIG"], "environment"
	default:
		path = defaultFile
	}
	f, err := readFile(path)
	switch {
	case err == nil:
		v.File = path
		err = f.unknown(p.Name, p.has, func(key string) bool { return p.has(key) || slices.Contains(knownKeys, key) })
		if err != nil {
			err = configError(err)
		}
	case named == "" && errors.Is(err, iofs.ErrNotExist):
		return nil, nil
	case named == "--config" && errors.Is(err, iofs.ErrNotExist):
		err = status.Exit(status.ExNoInput, "configuration "+path, errors.New("no such file"))
	default:
		err = configError(err)
	}
	if err != nil && p.Lenient {
		v.without(err)
		return nil, nil
	}
	return f, err
}

// without goes on without what is wrong.
func (v *Values) without(err error) {
	v.Warnings = append(v.Warnings, err.Error())
	v.Broken = true
}

func (p *Program) has(key string) bool {
	return slices.ContainsFunc(p.Settings, func(s Setting) bool { return s.Name == key })
}

// variable is the program's own environment variable of a setting.
func (p *Program) variable(name string) string {
	return "POSTBAG_" + upper(p.Name) + "_" + upper(name)
}

func upper(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		if name, text, ok := strings.Cut(e, "="); ok {
			env[name] = text
		}
	}
	return env
}

// value finds one setting: flag, environment, file, default. What the file says
// is checked also where it does not count.
func (p *Program) value(c *cli.Context, env map[string]string, f *file, s Setting) (*value, error) {
	texts, where, err := f.lookup(p.Name, s)
	if err != nil {
		return nil, configError(err)
	}
	if c.IsSet(s.Name) {
		val := &value{s, flagTexts(c, s), source{"flag", "--" + s.Name}}
		if err := checkAll(s, val.texts); err != nil {
			return nil, status.Exit(status.ExUsage, "--"+s.Name, err)
		}
		return val, missing(val)
	}
	if s.FlagOnly {
		return defaultValue(s), nil
	}
	names := []string{p.variable(s.Name)}
	if !s.OwnOnly {
		names = append(names, "POSTBAG_"+upper(s.Name))
	}
	for _, name := range names {
		text, ok := env[name]
		if !ok {
			continue
		}
		val := &value{s, envTexts(text, s), source{"environment", name}}
		if err := checkAll(s, val.texts); err != nil {
			return nil, configError(fmt.Errorf("%s: %w", name, err))
		}
		return val, missing(val)
	}
	if where != "" {
		val := &value{s, texts, source{"file", where}}
		return val, missing(val)
	}
	return defaultValue(s), nil
}

func defaultValue(s Setting) *value {
	val := &value{setting: s, source: source{"default", "default"}}
	if s.Default != "" {
		val.texts = envTexts(s.Default, s)
	}
	return val
}

func flagTexts(c *cli.Context, s Setting) []string {
	switch s.Kind {
	case Switch:
		return []string{fmt.Sprint(c.Bool(s.Name))}
	case List:
		var all []string
		for _, t := range c.StringSlice(s.Name) {
			if t != "" { // --domain "" is the empty list
				all = append(all, t)
			}
		}
		return all
	}
	return []string{c.String(s.Name)}
}

// envTexts splits lists at commas.
func envTexts(text string, s Setting) []string {
	if s.Kind != List {
		return []string{text}
	}
	var all []string
	for _, t := range strings.Split(text, ",") {
		if t = strings.TrimSpace(t); t != "" {
			all = append(all, t)
		}
	}
	return all
}

// missing checks that a file that was named is there: 66 on the command line, 78
// elsewhere.
func missing(val *value) error {
	if !val.setting.File || len(val.texts) == 0 || val.texts[0] == "" {
		return nil
	}
	if _, err := os.Stat(val.texts[0]); !errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	return val.missing(val.texts[0])
}

// missing is the error of a value that names a file which is not there.
func (val *value) missing(path string) error {
	err := fmt.Errorf("%s: no such file", path)
	if val.source.kind == "flag" {
		return status.Exit(status.ExNoInput, "--"+val.setting.Name, err)
	}
	return configError(fmt.Errorf("%s: %s: %w", val.source.where, val.setting.Name, err))
}

// unknownVariables names POSTBAG_ variables that mean nothing, once.
func (p *Program) unknownVariables(env map[string]string) []string {
	known := map[string]bool{"POSTBAG_CONFIG": true, p.variable("config"): true, "POSTBAG_FETCH_PASSWORD": true}
	for _, key := range append(knownKeys, names(p.Settings)...) {
		known["POSTBAG_"+upper(key)] = true
		for _, program := range programs {
			known["POSTBAG_"+upper(program)+"_"+upper(key)] = true
		}
	}
	var unknown []string
	for name := range env {
		if strings.HasPrefix(name, "POSTBAG_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return []string{"unknown environment variables are ignored: " + strings.Join(unknown, ", ")}
}

func names(settings []Setting) []string {
	var all []string
	for _, s := range settings {
		all = append(all, s.Name)
	}
	return all
}

// derive fills in the defaults that depend on the host.
func (p *Program) derive(v *Values, env map[string]string) error {
	if p.has("hostname") && v.String("hostname") == "" {
		v.override("hostname", "system", systemHostname())
	}
	if p.has("origin") && v.String("origin") == "" {
		name, where := mailname(), "/etc/mailname"
		if name == "" {
			name, where = v.String("hostname"), "hostname"
		}
		v.override("origin", where, name)
	}
	if p.has("domain") && !v.get("domain").setting.FlagOnly && !v.IsSet("domain") {
		v.override("domain", "hostname", v.String("hostname"), "localhost")
	}
	if p.has("spool") && v.String("spool") == "" {
		v.deriveSpool(env)
	}
	if p.has("users") && v.String("users") == "" {
		v.deriveUsers(env)
	}
	return nil
}

// deriveSpool takes the system's where this process may use it.
func (v *Values) deriveSpool(env map[string]string) {
	st, err := os.Stat(SystemSpool)
	if err == nil && st.IsDir() && (v.program.Name == "sendmail" || v.program.Name == "mailq" || ownedByUs(st)) {
		v.override("spool", "system", SystemSpool)
		return
	}
	if os.Geteuid() == 0 {
		v.override("spool", "system", SystemSpool)
		return
	}
	if dir := stateHome(env); dir != "" {
		v.override("spool", "user", filepath.Join(dir, "postbag"))
	}
}

func ownedByUs(st iofs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && (int(sys.Uid) == os.Geteuid() || os.Geteuid() == 0)
}

func stateHome(env map[string]string) string {
	if env["XDG_STATE_HOME"] != "" {
		return env["XDG_STATE_HOME"]
	}
	if env["HOME"] != "" {
		return filepath.Join(env["HOME"], ".local", "state")
	}
	return ""
}

func (v *Values) deriveUsers(env map[string]string) {
	path := systemUsers
	if os.Geteuid() != 0 {
		home := env["XDG_CONFIG_HOME"]
		if home == "" && env["HOME"] != "" {
			home = filepath.Join(env["HOME"], ".config")
		}
		if home != "" {
			path = filepath.Join(home, "postbag", "users")
		}
	}
	v.override("users", "default", path)
}

// PrivateSpool reports whether the spool is not the system's.
func (v *Values) PrivateSpool() bool { return filepath.Clean(v.String("spool")) != SystemSpool }

func mailname() string {
	b, err := os.ReadFile("/etc/mailname")
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSpace(line)
	if validDomain(line) != nil {
		return ""
	}
	return line
}

// systemHostname gives the full name of this host: the kernel's, and when that
// has no domain the first full name that /etc/hosts has for it.
func systemHostname() string {
	name, err := os.Hostname()
	if err != nil || validDomain(name) != nil {
		return "localhost"
	}
	if strings.Contains(name, ".") {
		return name
	}
	f, err := os.Open("/etc/hosts")
	if err != nil {
		return name
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if words := strings.Fields(line); len(words) > 1 && slices.Contains(words[1:], name) {
			if full := words[1]; strings.HasPrefix(full, name+".") {
				return full
			}
		}
	}
	return name
}

// knownKeys are the settings that only some programs have: they may stand at the
// top of a file that others read too. A test holds it against the programs.
var knownKeys = []string{
	"aliases", "always-bcc", "auth", "auth-on-mx", "bare-newline", "bind", "client-ca", "concurrency", "delay-warning", "delete", "delete-after", "destination-delay", "destination-rate", "dkim-key", "domain", "explain", "folders", "format", "hostname", "idle-timeout", "inetd", "ip", "json",
	"keep", "listen", "log-format", "log-level", "log-to", "mail-auth", "maildir", "masquerade", "max-connections", "max-per-address", "max-recipients", "max-size", "mechanism", "message-limit", "metrics", "min-free", "no-queue-runner",
	"origin", "password-command", "password-file", "plaintext-auth", "preauth", "print-id", "proxy-protocol-from", "queue-lifetime", "quiet", "quota", "recipient-delimiter",
	"relay-domain", "relay-from", "relay-recipients", "resolver", "resolver-trust-ad", "retry-max", "retry-min", "routes", "run-queue", "sender-login", "sender-routes", "smarthost", "smtp-port", "spool", "srs", "srs-secret-file", "state", "stop-timeout",
	"tls", "tls-ca", "tls-cert", "tls-insecure", "tls-key", "tls-reports", "to", "users", "virtual", "watch", "xclient-from",
}
