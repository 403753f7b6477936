package main

import (
	"slices"
	"strings"
	"testing"

	"postbag/internal/config"
)

func takesValue(t testing.TB) func(string) bool {
	p := config.Program{Name: "sendmail", Settings: settings()}
	return p.TakesValue
}

// TestCommandLinesOfRealCallers has what cron, mutt, PHP and others run:
// options as letter and value, then the operands.
func TestCommandLinesOfRealCallers(t *testing.T) {
	for argv, want := range map[string]string{
		"-FCronDaemon -i -B8BITMIME -oem root":    "F=CronDaemon i B=8BITMIME o=em | root",
		"-FCronDaemon -i -odi -oem -oi -t -f ann": "F=CronDaemon i o=di o=em o=i t f=ann |",
		"-t -oem -i":          "t o=em i |",
		"-oem -oi -- ann bob": "o=em o=i | ann bob",
		"-oem -oi -f me -N failure,delay -R hdrs -- a": "o=em o=i f=me N=failure,delay R=hdrs | a",
		"-i -m -v -f a@b -- c":                         "i m v f=a@b | c",
		"-t -i -fsender":                               "t i f=sender |",
		"-ti":                                          "t i |",
		"-vt":                                          "v t |",
		"-tfx@y":                                       "t f=x@y |",
		"-oi -ODeliveryMode=b -OErrorMode=m -t":        "o=i O=DeliveryMode=b O=ErrorMode=m t |",
		"-Nnever -Rhdrs a":                             "N=never R=hdrs | a",
		"-q":                                           "q |",
		"-q -v":                                        "q v |",
		"-q30m":                                        "q=30m |",
		"-bd -q1h30m":                                  "b=d q=1h30m |",
		"-bs -odb -oem":                                "b=s o=db o=em |",
		"a@b -f x":                                     "| a@b -f x",
		"- -t":                                         "| - -t",
		"-h 3 a":                                       "h=3 | a",
		"-d0.1 -C/etc/x -oQ/dir -Ac":                   "d=0.1 C=/etc/x o=Q/dir A=c |",
		"-f -odd@x a":                                  "f=-odd@x | a",
		"help":                                         "| help",
		"a --generate-bash-completion":                 "| a --generate-bash-completion",
		"--spool dir --print-id -t a --explain":        "--spool=dir --print-id t | a --explain",
		"-t -- --help":                                 "t | --help",
	} {
		c, err := split(append([]string{"/usr/sbin/sendmail"}, strings.Fields(argv)...), takesValue(t))
		if err != nil {
			t.Errorf("%s: %v", argv, err)
			continue
		}
		if got := c.print(); got != want {
			t.Errorf("%s: got %s, want %s", argv, got, want)
		}
	}
}

func (c *commandLine) print() string {
	words := slices.Clone(c.long)
	for _, o := range c.options {
		word := string(o.letter)
		if o.value != "" {
			word += "=" + o.value
		}
		words = append(words, word)
	}
	return strings.Join(append(append(words, "|"), c.operands...), " ")
}

func TestNamesOfTheProgramChooseTheMode(t *testing.T) {
	for argv, want := range map[string]modus{
		"/usr/bin/newaliases": aliasMode, "mailq": listMode, "runq": runMode,
		"sendmail -bp": listMode, "newaliases -bp": listMode, "sendmail -I": aliasMode,
		"send-mail -t": deliverMode, "sendmail -q1h": runMode,
	} {
		c, err := split(strings.Fields(argv), takesValue(t))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := understand(c); err != nil || r.mode != want {
			t.Errorf("%s: mode %v, %v; want %s", argv, r, err, want)
		}
	}
}

// FuzzSplit: whatever the arguments are, none gets lost or changes its order.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"-ti\x00a", "-f\x00x\x00--\x00-b", "--spool\x00d\x00-qf", "-\x00-t", "-oem\x00-FCron\x00root"} {
		f.Add(seed)
	}
	takes := takesValue(f)
	f.Fuzz(func(t *testing.T, joined string) {
		args := strings.Split(joined, "\x00")
		c, err := split(append([]string{"sendmail"}, args...), takes)
		if err != nil {
			return
		}
		if tail := args[len(args)-len(c.operands):]; !slices.Equal(tail, c.operands) {
			t.Errorf("operands %q of %q", c.operands, args)
		}
		_, _ = understand(c)
	})
}

func TestGecosNames(t *testing.T) {
	for in, want := range map[string]string{"Ann Other,Room 1,,": "Ann Other", "& Other": "Ann Other", "": ""} {
		if got := gecosName(in, "ann"); got != want {
			t.Errorf("gecosName(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestLinksNeitherDNSNorHTTP: sendmail is to start in milliseconds.
func TestLinksNeitherDNSNorHTTP(t *testing.T) {
	out, err := goList()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"net/http", "github.com/miekg/dns", "github.com/prometheus/client_golang/prometheus"} {
		if slices.Contains(strings.Fields(out), bad) {
			t.Errorf("sendmail links %s", bad)
		}
	}
}
