package main

import (
	"testing"

	"postbag/cmd/internal/scripttest"
)

func TestScripts(t *testing.T) { scripttest.Run(t, "sendmail", "mailq", "smtpd") }

func TestManPage(t *testing.T) { scripttest.CheckPage(t, "sendmail", "../../man/sendmail.1") }
