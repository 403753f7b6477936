package config

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// try runs a program that prints one setting, and gives exit code, output and
// errors.
func try(t *testing.T, p Program, setting string, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	if p.Name == "" {
		p.Name = "smtpd"
	}
	if p.Settings == nil {
		p.Settings = Join(Common, Recipients, Daemon, Relay)
	}
	p.Stdout, p.Stderr = &out, &errs
	if p.Environ == nil {
		p.Environ = []string{"HOME=/h"}
	}
	if p.Run == nil {
		p.Run = func(_ context.Context, v *Values) error {
			out.WriteString(strings.Join(v.Strings(setting), ","))
			return nil
		}
	}
	code := Main(p, append([]string{p.Name}, args...))
	return code, out.String(), errs.String()
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postbag.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSources(t *testing.T) {
	text := "origin = \"top.example\"\ndomain = [\"a.example\", \"b.example\"]\nlisten = [\"smtp://:1\"]\nkeep = true\n" +
		"[smtpd]\norigin = \"own.example\"\n[popd]\norigin = \"other.example\"\nlisten = [\"pop3://:1\"]\n"
	for _, tt := range []struct {
		name, program, setting string
		env, args              []string
		want                   string
	}{
		{"the flag beats all", "smtpd", "origin", []string{"POSTBAG_ORIGIN=e.example"}, []string{"--origin", "f.example"}, "f.example"},
		{"a flag may follow operands", "smtpd", "origin", nil, []string{"x", "--origin=f.example"}, "f.example"},
		{"the program's variable beats the other", "smtpd", "origin", []string{"POSTBAG_ORIGIN=e.example", "POSTBAG_SMTPD_ORIGIN=s.example"}, nil, "s.example"},
		{"a variable beats the file", "smtpd", "origin", []string{"POSTBAG_ORIGIN=e.example"}, nil, "e.example"},
		{"the program's table beats the top", "smtpd", "origin", nil, nil, "own.example"},
		{"a program without table has the top", "imapd", "origin", nil, nil, "top.example"},
		{"lists in the file", "smtpd", "domain", nil, nil, "a.example,b.example"},
		{"lists in a variable", "smtpd", "domain", []string{"POSTBAG_DOMAIN=c.example, d.example"}, nil, "c.example,d.example"},
		{"lists of flags, which commas do not split", "smtpd", "listen", nil, []string{"--listen", "a,b", "--listen", "c"}, "a,b,c"},
		{"an empty list", "smtpd", "domain", nil, []string{"--domain", ""}, ""},
		{"listen is not read from the top", "smtpd", "listen", nil, nil, ""},
		{"but from the program's table", "popd", "listen", nil, nil, "pop3://:1"},
		{"nor from the common variable", "smtpd", "listen", []string{"POSTBAG_LISTEN=smtp://:2"}, nil, ""},
		{"but from its own", "smtpd", "listen", []string{"POSTBAG_SMTPD_LISTEN=smtp://:2"}, nil, "smtp://:2"},
		{"defaults", "smtpd", "log-level", nil, nil, "info"},
		{"the origin follows the hostname where nothing says it", "mailq", "hostname", []string{"POSTBAG_HOSTNAME=h.example"}, nil, "h.example"},
	} {
		path := write(t, text)
		p := Program{Name: tt.program, Environ: append([]string{"POSTBAG_CONFIG=" + path}, tt.env...)}
		if code, got, errs := try(t, p, tt.setting, tt.args...); code != 0 || got != tt.want {
			t.Errorf("%s: %s = %q, exit %d, %s; want %q", tt.name, tt.setting, got, code, errs, tt.want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		env, args  []string
		code       int
		want       string // on standard error, FILE for the file
	}{
		{"an unknown key", "\n orgin = \"x\"\n", nil, nil, 78, "smtpd: FILE:2: orgin: no such key\n"},
		{"an unknown key of the table", "[smtpd]\n\"orgin\" = \"x\"\n", nil, nil, 78, "smtpd: FILE:2: orgin: no such key\n"},
		{"an unknown key behind a comment", "[ smtpd ] # it\n\norgin = 1\n", nil, nil, 78, "smtpd: FILE:3: orgin: no such key\n"},
		{"an unknown dotted key", "spool = \"x\"\nsmtpd.orgin = 1\n", nil, nil, 78, "smtpd: FILE:2: orgin: no such key\n"},
		{"an unknown key after one of the same name elsewhere", "[fetch]\norgin = 1\n[smtpd]\norgin = 1\n", nil, nil, 78, "smtpd: FILE:4: orgin: no such key\n"},
		{"an unknown program", "[smptd]\norigin = \"x\"\n", nil, nil, 78, "smtpd: FILE:1: [smptd]: no such program\n"},
		{"no TOML", "a = 1\nb = \n", nil, nil, 78, "smtpd: FILE:2: "},
		{"a key twice", "spool = \"a\"\nspool = \"b\"\n", nil, nil, 78, "smtpd: FILE:2: "},
		{"a wrong type", "spool = 7\n", nil, nil, 78, "smtpd: FILE:1: spool: has a value of the wrong type, 7\n"},
		{"a wrong time", "# x\n[smtpd]\nstop-timeout = \"5\"\n", nil, nil, 78, "smtpd: FILE:3: stop-timeout: \"5\" is no time"},
		{"a wrong choice", "log-level = \"loud\"\n", nil, nil, 78, "smtpd: FILE:1: log-level: \"loud\" is none of debug"},
		{"a quoted switch", "[smtpd]\ninetd = \"true\"\n", nil, nil, 78, "smtpd: FILE:2: inetd: is true or false, without quotes\n"},
		{"a list for one value", "spool = [\"a\"]\n", nil, nil, 78, "smtpd: FILE:1: spool: is one value, not a list\n"},
		{"a table for a value", "[spool]\n", nil, nil, 78, "smtpd: FILE:1: [spool]: no such program\n"},
		{"a file that the configuration names", "users = \"/nowhere\"\n", nil, nil, 78, "smtpd: FILE:1: users: /nowhere: no such file\n"},
		{"a file that a flag names", "", nil, []string{"--users", "/nowhere"}, 66, "smtpd: --users: /nowhere: no such file\n"},
		{"a configuration that a flag names", "", nil, []string{"--config", "/nowhere"}, 66, "smtpd: configuration /nowhere: no such file\n"},
		{"a configuration that a variable names", "", []string{"POSTBAG_CONFIG=/nowhere"}, nil, 78, "smtpd: "},
		{"a wrong variable", "", []string{"POSTBAG_LOG_FORMAT=xml"}, nil, 78, "smtpd: POSTBAG_LOG_FORMAT: \"xml\" is none of"},
		{"a wrong value of a flag", "", nil, []string{"--proxy-protocol-from", "x"}, 64, "smtpd: --proxy-protocol-from: \"x\" is neither"},
		{"an unknown flag", "", nil, []string{"--nope"}, 64, "smtpd: usage: unknown flag --nope; see --help\n"},
		{"a flag without its value", "", nil, []string{"--spool"}, 64, "smtpd: usage: --spool: needs a value\n"},
	} {
		path := write(t, tt.file)
		p := Program{Environ: append([]string{"POSTBAG_CONFIG=" + path}, tt.env...)}
		code, out, errs := try(t, p, "origin", tt.args...)
		want := strings.ReplaceAll(tt.want, "FILE", path)
		if code != tt.code || out != "" || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q; want %d and %q", tt.name, code, out, errs, tt.code, want)
		}
	}
}

func TestKeysOfOtherProgramsAreNoMistake(t *testing.T) {
	path := write(t, "queue-lifetime = \"5d\"\nkeep = true\nresolver = 7\n[fetch]\nwhatever = 1\n[mailq]\njson = true\n")
	code, _, errs := try(t, Program{Name: "popd", Settings: Common, Environ: []string{"POSTBAG_CONFIG=" + path}}, "spool")
	if code != 0 || errs != "" {
		t.Errorf("exit %d, %s", code, errs)
	}
}

func TestALenientProgramOnlyWarns(t *testing.T) {
	for _, text := range []string{"orgin = 1\n", "[[[", "log-level = \"loud\"\n"} {
		path := write(t, text)
		code, out, errs := try(t, Program{Name: "sendmail", Lenient: true, Environ: []string{"POSTBAG_CONFIG=" + path}}, "log-level")
		if code != 0 || out != "info" || !strings.HasPrefix(errs, "sendmail: warning: "+path) {
			t.Errorf("%q: exit %d, %s, %s", text, code, out, errs)
		}
	}
}

func TestUnknownVariablesAreNamedOnce(t *testing.T) {
	env := []string{"POSTBAG_ORGIN=x", "POSTBAG_SPOL=y", "POSTBAG_FETCH_PASSWORD=z", "POSTBAG_IMAPD_LISTEN=i", "POSTBAG_RETRY_MIN=5m"}
	code, _, errs := try(t, Program{Environ: env}, "origin")
	if want := "smtpd: warning: unknown environment variables are ignored: POSTBAG_ORGIN, POSTBAG_SPOL\n"; code != 0 || errs != want {
		t.Errorf("exit %d, %q; want %q", code, errs, want)
	}
}

func TestPrintConfigSaysWhereValuesComeFromAndKeepsSecrets(t *testing.T) {
	path := write(t, "origin = \"o.example\"\ntoken = \"hidden\"\n")
	p := Program{Settings: Join(Common, []Setting{{Name: "token", Secret: true}}), Environ: []string{"POSTBAG_LOG_LEVEL=warn"}}
	code, out, errs := try(t, p, "origin", "--config", path, "--spool", "/s", "--print-config")
	for _, want := range []string{
		"spool = /s  # --spool\n", "origin = o.example  # " + path + ":1\n", "log-level = warn  # POSTBAG_LOG_LEVEL\n",
		"log-format = text  # default\n", "token = ********  # " + path + ":2\n",
	} {
		if code != 0 || errs != "" || !strings.Contains(out, want) {
			t.Errorf("exit %d, %s\n%swant %s", code, errs, out, want)
		}
	}
	if strings.Contains(out, "hidden") {
		t.Error("a secret is printed")
	}
}

func TestCheckPrintsEachFault(t *testing.T) {
	p := Program{Check: func(context.Context, *Values) []error { return []error{os.ErrNotExist, os.ErrClosed} }}
	if code, out, errs := try(t, p, "origin", "--check"); code != 78 || errs != "" || out != "file does not exist\nfile already closed\n" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	p.Check = nil
	if code, out, _ := try(t, p, "origin", "--check"); code != 0 || out != "" {
		t.Errorf("exit %d, %q", code, out)
	}
}

func TestHelpAndVersionAreOutput(t *testing.T) {
	p := Program{Settings: Join(Common, []Setting{{Name: "sometimes", Arg: "ID", Kind: Optional}, {Name: "secretly", Hidden: true}}), More: "more {{.}}\n"}
	code, out, errs := try(t, p, "", "--help")
	for _, want := range []string{"usage: smtpd [OPTION...] ", "  --spool DIR  ", "  --sometimes[=ID]  ", "(default: info)\n", "more {{.}}\n"} {
		if code != 0 || errs != "" || !strings.Contains(out, want) {
			t.Errorf("exit %d, %q, %q; want %q", code, out, errs, want)
		}
	}
	if strings.Contains(out, "secretly") {
		t.Error("a hidden flag is shown")
	}
	if code, out, errs := try(t, p, "", "--version"); code != 0 || errs != "" || !strings.Contains(out, "smtpd") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

func TestOptionalValues(t *testing.T) {
	own := []Setting{{Name: "run", Arg: "ID", Kind: Optional}}
	for arg, want := range map[string]string{"--run": "true  x", "--run=7": "true 7 x", "--": "false  x"} {
		var got string
		p := Program{Settings: Join(Common, own), Run: func(_ context.Context, v *Values) error {
			got = strings.Join([]string{map[bool]string{true: "true", false: "false"}[v.IsSet("run")], v.String("run"), strings.Join(v.Operands, "")}, " ")
			return nil
		}}
		if code, _, errs := try(t, p, "", arg, "x"); code != 0 || got != want {
			t.Errorf("%s: %q, exit %d, %s; want %q", arg, got, code, errs, want)
		}
	}
}

func TestFlagsHandsOnWhatTheCommandLineSaid(t *testing.T) {
	path := write(t, "")
	var got []string
	p := Program{Environ: []string{"POSTBAG_ORIGIN=o.example"}, Run: func(_ context.Context, v *Values) error {
		got = v.Flags(Join(Common, Recipients))
		return nil
	}}
	try(t, p, "", "--config", path, "--spool", "/s", "--domain", "a.example", "--domain", "b.example", "--stop-timeout", "1s")
	want := []string{"--config=" + path, "--spool=/s", "--domain=a.example", "--domain=b.example"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFlagOnlySettingsHaveNoOtherSource(t *testing.T) {
	path := write(t, "domain = [\"a.example\"]\n[mailq]\n")
	p := Program{Name: "mailq", Settings: Join(Common, []Setting{{Name: "domain", FlagOnly: true}}), Environ: []string{"POSTBAG_CONFIG=" + path, "POSTBAG_DOMAIN=b.example"}}
	if code, got, errs := try(t, p, "domain"); code != 0 || got != "" || errs != "" {
		t.Errorf("domain = %q, exit %d, %s", got, code, errs)
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"90s": 90 * time.Second, "5m": 5 * time.Minute, "4h": 4 * time.Hour, "5d": 120 * time.Hour, "1h30m": 90 * time.Minute, "0": 0, "1w": 168 * time.Hour} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "5", "m", "-5m", "5 m", "1.5h", "5x", "99999999999999999999d", "9999999999d", "5m5"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v", in, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "1000": 1000, "20K": 20 << 10, "50M": 50 << 20, "1g": 1 << 30, "1T": 1 << 40, "2MiB": 2 << 20, "3kb": 3 << 10} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "K", "-1", "1.5M", "1 M", "9999999999T", "M5"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d", in, got)
		}
	}
}
