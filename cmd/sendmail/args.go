package main

import (
	"fmt"
	"strings"
)

// A modus is what the command line asks for as a whole.
type modus string

const (
	deliverMode modus = "deliver"    // -bm: a letter from standard input
	smtpMode    modus = "smtp"       // -bs: SMTP on standard input and output
	listMode    modus = "mailq"      // -bp: the queue
	aliasMode   modus = "newaliases" // -bi: look at the aliases
	verifyMode  modus = "verify"     // -bv: where addresses lead to
	runMode     modus = "run"        // -q: try what is queued
	daemonMode  modus = "daemon"     // -bd, -bD: smtpd
	countMode   modus = "count"      // -bP: how many messages wait
	testMode    modus = "test"       // -bt: where the addresses on standard input lead to
	nothingMode modus = "nothing"    // -bh, -bH: host status, which there is none of
)

// An option is one of the short ones as it stood on the command line.
type option struct {
	letter byte
	value  string
}

func (o option) String() string {
	if o.value == "" {
		return "-" + string(o.letter)
	}
	return "-" + string(o.letter) + " " + o.value
}

// A commandLine is taken apart as Sendmail does it: getopt(3) without
// permutation. What follows the first operand is an operand.
type commandLine struct {
	name     string   // argv[0] without directories
	long     []string // flags for package config, each with its value
	options  []option
	operands []string
	dashes   bool // "--" came before the operands
}

// Letters of options, by what follows them: those of Sendmail 8, Postfix, Exim
// and OpenSMTPD together.
const (
	withValue = "ABCDFLMNOQRVXbefhopr"
	mayGlue   = "qdEJ" // a value only without a blank before it
	without   = "GIUTcimnstvx"
)

// split takes argv apart. takesValue tells it of long flags.
func split(argv []string, takesValue func(string) bool) (*commandLine, error) {
	c := &commandLine{name: argv[0][strings.LastIndexByte(argv[0], '/')+1:]}
	args := argv[1:]
	for len(args) > 0 {
		a := args[0]
		if len(a) < 2 || a[0] != '-' {
			break
		}
		args = args[1:]
		if a == "--" {
			c.dashes = true
			break
		}
		var err error
		if strings.HasPrefix(a, "--") {
			args, err = c.longFlag(a, args, takesValue)
		} else {
			args, err = c.cluster(a[1:], args)
		}
		if err != nil {
			return nil, err
		}
	}
	c.operands = args
	return c, nil
}

func (c *commandLine) longFlag(flag string, args []string, takesValue func(string) bool) ([]string, error) {
	if !takesValue(flag) {
		c.long = append(c.long, flag)
		return args, nil
	}
	if len(args) == 0 {
		return nil, fmt.Errorf("%s: needs a value", flag)
	}
	c.long = append(c.long, flag+"="+args[0])
	return args[1:], nil
}

// cluster takes options that stand together, as in -ti or -FCronDaemon.
func (c *commandLine) cluster(letters string, args []string) ([]string, error) {
	for i := range len(letters) {
		l, rest := letters[i], letters[i+1:]
		switch {
		case strings.IndexByte(without, l) >= 0:
			c.options = append(c.options, option{letter: l})
			continue
		case strings.IndexByte(mayGlue, l) >= 0:
		case strings.IndexByte(withValue, l) < 0:
			return nil, fmt.Errorf("invalid option -- '%c'", l)
		case rest == "" && len(args) == 0:
			return nil, fmt.Errorf("option requires an argument -- '%c'", l)
		case rest == "":
			rest, args = args[0], args[1:]
		}
		c.options = append(c.options, option{l, rest})
		return args, nil
	}
	return args, nil
}
