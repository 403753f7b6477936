package main

import (
	"testing"

	"postbag/cmd/internal/scripttest"
)

func TestScripts(t *testing.T) { scripttest.Run(t, "mailq", "sendmail", "smtpd") }

func TestManPage(t *testing.T) { scripttest.CheckPage(t, "mailq", "../../man/mailq.1") }

func TestMaskedShowsWhatMovesTheCursorAsQuestionMarks(t *testing.T) {
	for in, want := range map[string]string{
		"plain":           "plain",
		"f\u00fcr":        "f\u00fcr",
		"\x1b[2Jgone\r\n": "?[2Jgone??",
		"\u202egnp":       "?gnp",
		"\u009b1m\xff":    "?1m?",
	} {
		if got := masked(in); got != want {
			t.Errorf("masked(%q) = %q, want %q", in, got, want)
		}
	}
}
