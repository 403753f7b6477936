package main

import (
	"testing"

	"postbag/cmd/internal/scripttest"
)

func TestScripts(t *testing.T) { scripttest.Run(t, "smtpd") }

func TestManPage(t *testing.T) { scripttest.CheckPage(t, "smtpd", "../../man/smtpd.8") }
