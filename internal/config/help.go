package config

import (
	"fmt"
	"strings"
)

// general are the flags that ask about the program itself.
var general = []Setting{
	{Name: "help", Kind: Switch, Usage: "print this, and exit"},
	{Name: "version", Kind: Switch, Usage: "print the version, and exit"},
}

// usageColumn is where the words about a flag begin.
const usageColumn = 30

// help is the text of --help.
func (p *Program) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s [OPTION...] %s\n%s: %s\n\n", p.Name, p.Args, p.Name, p.Usage)
	for _, s := range Join(control, p.Settings, general) {
		if !s.Hidden {
			b.WriteString(s.help())
		}
	}
	return b.String() + p.More
}

func (s Setting) help() string {
	flag := "--" + s.Name
	switch {
	case s.Kind == Optional:
		flag += "[=" + s.Arg + "]"
	case s.Arg != "":
		flag += " " + s.Arg
	}
	text := s.Usage
	if s.Default != "" {
		text += " (default: " + s.Default + ")"
	}
	return fmt.Sprintf("  %-*s %s\n", usageColumn-3, flag, text)
}
