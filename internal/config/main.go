package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"postbag/internal/status"
)

// control are the flags that every program has and no file.
var control = []Setting{
	{Name: "config", Arg: "FILE", Usage: "configuration (default: /etc/postbag/postbag.toml)"},
	{Name: "check", Usage: "check the configuration and the files it names, and exit", Kind: Switch},
	{Name: "print-config", Usage: "print the settings in force and where each comes from, and exit", Kind: Switch},
}

// Main runs a program with its command line (argv[0] too) and gives the exit
// code. What goes wrong is one line on standard error.
func Main(p Program, argv []string) int {
	p.fill()
	err := p.main(argv)
	if err == nil || errors.Is(err, errDone) {
		return status.ExOK
	}
	var silent *silentExit
	if errors.As(err, &silent) {
		return silent.code
	}
	fmt.Fprintf(p.Stderr, "%s: %s\n", p.Name, oneLine(err.Error()))
	return status.ExitCode(err)
}

// errDone ends a program that has done all that was asked.
var errDone = errors.New("done")

// A silentExit ends a program that has said what there is to say.
type silentExit struct{ code int }

func (*silentExit) Error() string { return "exit" }

// Silent is an error that ends the program with a code and no line.
func Silent(code int) error { return &silentExit{code} }

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
}

func (p *Program) fill() {
	if p.Stdin == nil {
		p.Stdin = os.Stdin
	}
	if p.Stdout == nil {
		p.Stdout = os.Stdout
	}
	if p.Stderr == nil {
		p.Stderr, p.taken = ownStderr()
	}
	if p.Environ == nil {
		p.Environ = os.Environ()
	}
}

// main parses, and then checks, prints or runs.
func (p *Program) main(argv []string) error {
	args, err := p.permute(argv[1:])
	if err != nil {
		return usageError(err)
	}
	app := p.app()
	app.Action = func(c *cli.Context) error { return p.action(c) }
	return app.RunContext(context.Background(), append([]string{p.Name}, args...))
}

// permute puts flags before operands, so that they may stand anywhere; after
// "--" there are only operands.
func (p *Program) permute(args []string) ([]string, error) {
	var flags, operands []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			operands = append(operands, args[i+1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			operands = append(operands, a)
			continue
		}
		if s, ok := p.setting(a); ok && s.Kind == Optional && !strings.Contains(a, "=") {
			a += "="
		}
		flags = append(flags, a)
		if !p.TakesValue(a) {
			continue
		}
		if i++; i >= len(args) {
			return nil, fmt.Errorf("%s: needs a value", a)
		}
		flags = append(flags, args[i])
	}
	return append(append(flags, "--"), operands...), nil
}

// TakesValue tells whether the argument after a flag belongs to it.
func (p *Program) TakesValue(flag string) bool {
	s, ok := p.setting(flag)
	return ok && !strings.Contains(flag, "=") && s.Kind != Switch && s.Kind != Optional
}

// setting finds what a flag sets.
func (p *Program) setting(flag string) (Setting, bool) {
	name, _, _ := strings.Cut(strings.TrimLeft(flag, "-"), "=")
	for _, s := range append(control[:len(control):len(control)], p.Settings...) {
		if s.Name == name {
			return s, true
		}
	}
	return Setting{}, false
}

func usageError(err error) error {
	return status.Exit(status.ExUsage, "usage", errors.New(usageText(err)))
}

// usageText brings the words of package flag into ours.
func usageText(err error) string {
	s := err.Error()
	if name, ok := strings.CutPrefix(s, "flag provided but not defined: -"); ok {
		return "unknown flag --" + strings.TrimLeft(name, "-") + "; see --help"
	}
	return s
}

// app is the command line of the program.
func (p *Program) app() *cli.App {
	app := &cli.App{
		Name: p.Name, Usage: p.Usage,
		Version: Version, HideHelpCommand: true, Writer: p.Stdout, ErrWriter: io.Discard,
		CustomAppHelpTemplate: "{{.Description}}", Description: p.help(),
		DisableSliceFlagSeparator: true,
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return usageError(err) },
		ExitErrHandler:            func(*cli.Context, error) {},
	}
	for _, s := range append(control[:len(control):len(control)], p.Settings...) {
		app.Flags = append(app.Flags, s.flag())
	}
	return app
}

// flag is the setting for the library, which only parses it.
func (s Setting) flag() cli.Flag {
	switch s.Kind {
	case Switch:
		return &cli.BoolFlag{Name: s.Name}
	case List:
		return &cli.StringSliceFlag{Name: s.Name}
	}
	return &cli.StringFlag{Name: s.Name}
}

// action does what the flags ask for.
func (p *Program) action(c *cli.Context) error {
	v, err := p.values(c)
	if err != nil {
		return err
	}
	switch {
	case c.Bool("print-config"):
		return v.print(p.Stdout)
	case c.Bool("check"):
		return p.check(v)
	}
	for _, w := range v.Warnings {
		fmt.Fprintf(p.Stderr, "%s: warning: %s\n", p.Name, oneLine(w))
	}
	return p.Run(c.Context, v)
}

// check prints a line for each fault.
func (p *Program) check(v *Values) error {
	faults := 0
	for _, w := range v.Warnings {
		fmt.Fprintln(p.Stdout, oneLine(w))
	}
	if p.Check != nil {
		for _, err := range p.Check(context.Background(), v) {
			fmt.Fprintln(p.Stdout, oneLine(err.Error()))
			faults++
		}
	}
	if faults > 0 {
		return Silent(status.ExConfig)
	}
	return errDone
}

// print lists all settings: key, value, where it comes from.
func (v *Values) print(w io.Writer) error {
	for _, s := range v.program.Settings {
		val := v.byName[s.Name]
		text := strings.Join(val.texts, ",")
		if s.Secret && text != "" {
			text = "********"
		}
		if _, err := fmt.Fprintf(w, "%s = %s  # %s\n", s.Name, text, val.source.where); err != nil {
			return status.Exit(status.ExIOErr, "print configuration", err)
		}
	}
	return errDone
}
