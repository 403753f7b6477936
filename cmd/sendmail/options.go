package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postbag/internal/address"
	"postbag/internal/config"
)

// A request is what the options of a command line mean together.
type request struct {
	line     *commandLine
	mode     modus
	config   string // -C
	extract  bool   // -t: recipients from the header too
	dots     bool   // a lone dot ends the letter
	bare     bool   // -G: complete nothing
	from     *string
	fullName string
	body     string // -B
	utf8     bool
	notify   string // of RFC 3461, for each recipient
	ret      string
	envID    string
	later    bool // -odq: do not start an attempt
	quiet    bool // -oeq: only the exit code tells of errors
	hops     int  // -h: Received fields that the letter has had besides
	choices  []choice
	every    time.Duration // -q30m
	stay     bool          // -qf, -bD: in the foreground
}

// modes are those of -b. With -ba lines end with CRLF, which they always may.
var modes = map[string]modus{
	"m": deliverMode, "a": deliverMode, "s": smtpMode, "p": listMode, "P": countMode, "i": aliasMode, "v": verifyMode, "t": testMode,
	"d": daemonMode, "l": daemonMode, "D": daemonMode, "h": nothingMode, "H": nothingMode,
}

// namedModes are those of the names that sendmail has.
var namedModes = map[string]modus{
	"mailq": listMode, "newaliases": aliasMode, "runq": runMode, "hoststat": nothingMode, "purgestat": nothingMode,
}

// understand gives options their meaning.
func understand(c *commandLine) (*request, error) {
	r := &request{line: c, mode: deliverMode, dots: true}
	if m, ok := namedModes[c.name]; ok {
		r.mode = m
	}
	for _, o := range c.options {
		if err := r.option(o); err != nil {
			return nil, err
		}
	}
	return r, r.agree()
}

// option takes one. Those that are not named here change nothing, as in other
// mailers: no script shall stumble over them.
func (r *request) option(o option) error {
	switch o.letter {
	case 'b':
		return r.setMode(o.value)
	case 'I':
		r.mode = aliasMode
	case 'q':
		return r.run(o.value)
	case 't':
		r.extract = true
	case 'i':
		r.dots = false
	case 'f', 'r':
		r.from = &o.value // the last one wins: PHP gives two
	case 'F':
		r.fullName = o.value
	case 'G':
		r.bare = true
	case 'U':
		r.utf8 = true
	case 'C':
		r.config = o.value
	case 'e':
		r.quiet = strings.HasPrefix(o.value, "q")
	case 'Q':
		return errors.New("-Q: not possible; see mailq hold")
	default:
		return r.delivery(o)
	}
	return nil
}

// delivery takes the options about how a letter is sent.
func (r *request) delivery(o option) error {
	var err error
	switch o.letter {
	case 'B':
		if body := strings.ToUpper(o.value); body == "7BIT" || body == "8BITMIME" {
			r.body = body
		}
	case 'N':
		r.notify, err = notify(o.value)
	case 'R':
		if r.ret = strings.ToUpper(o.value); r.ret != "FULL" && r.ret != "HDRS" {
			err = fmt.Errorf("-R %s: is neither full nor hdrs", o.value)
		}
	case 'V':
		if r.envID, err = address.ParseXText(o.value); err != nil {
			err = fmt.Errorf("-V %s: %w", o.value, err)
		}
	case 'h':
		n, nerr := strconv.ParseUint(o.value, 10, 16)
		if r.hops = int(n); nerr != nil {
			err = fmt.Errorf("-h %s: is no hop count", o.value)
		}
	case 'o':
		r.shortOption(o.value)
	case 'O':
		r.longOption(o.value)
	}
	return err
}

func (r *request) setMode(value string) error {
	m, ok := modes[value]
	if !ok {
		return fmt.Errorf("-b%s: not possible", value)
	}
	r.mode = m
	r.stay = r.stay || value == "D"
	return nil
}

// run takes what follows -q: nothing, f, a time, or which messages. A daemon runs
// the queue by itself.
func (r *request) run(value string) error {
	if r.mode != daemonMode {
		r.mode = runMode
	}
	value = strings.TrimPrefix(value, "p") // Sendmail's persistent runner
	switch {
	case value == "":
		return nil
	case value == "f":
		r.stay = true
		return nil
	}
	if c, ok := parseChoice(value); ok {
		r.choices = append(r.choices, c)
		return nil
	}
	every, err := config.ParseDuration(value)
	if err != nil || every <= 0 {
		return fmt.Errorf("-q%s: is neither a time nor a choice of messages", value)
	}
	r.every = every
	return nil
}

// shortOption takes Sendmail's -ox.
func (r *request) shortOption(o string) {
	switch {
	case o == "i" || o == "itrue" || o == "iTrue":
		r.dots = false
	case strings.HasPrefix(o, "dq") || strings.HasPrefix(o, "dd"):
		r.later = true
	case strings.HasPrefix(o, "e"):
		r.quiet = strings.HasPrefix(o, "eq")
	}
}

// longOption takes Sendmail's -OName=value.
func (r *request) longOption(o string) {
	name, value, _ := strings.Cut(o, "=")
	first := strings.ToLower(value + " ")[0]
	yes := value == "" || first == 't' || first == 'y' || first == '1'
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "ignoredots":
		r.dots = !yes
	case "deliverymode":
		r.later = first == 'q' || first == 'd'
	case "errormode":
		r.quiet = first == 'q'
	case "smtputf8":
		r.utf8 = yes
	}
}

// notify checks the value of NOTIFY, RFC 3461 section 4.1.
func notify(s string) (string, error) {
	upper := strings.ToUpper(s)
	if upper == "NEVER" {
		return upper, nil
	}
	for word := range strings.SplitSeq(upper, ",") {
		if word != "SUCCESS" && word != "FAILURE" && word != "DELAY" {
			return "", fmt.Errorf("-N %s: is neither never nor of success,failure,delay", s)
		}
	}
	return upper, nil
}

// agree refuses what does not go together.
func (r *request) agree() error {
	operands := len(r.line.operands) > 0
	switch {
	case r.extract && r.mode != deliverMode:
		return errors.New("-t goes with the delivery of a letter only")
	case operands && r.mode != deliverMode && r.mode != verifyMode:
		return fmt.Errorf("unexpected argument %q", r.line.operands[0])
	case !operands && r.mode == verifyMode:
		return errors.New("-bv needs addresses")
	case len(r.choices) > 0 && (r.mode != runMode || r.every > 0):
		return errors.New("a choice of messages goes with one run of the queue only")
	case !operands && r.mode == deliverMode && !r.extract:
		return errors.New("no recipients: name them on the command line or use -t")
	}
	return nil
}
