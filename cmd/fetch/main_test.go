package main

import (
	"testing"

	"postbag/cmd/internal/scripttest"
)

func TestScripts(t *testing.T) { scripttest.Run(t, "fetch", "popd", "imapd", "smtpd", "sendmail") }

func TestManPage(t *testing.T) { scripttest.CheckPage(t, "fetch", "../../man/fetch.1") }
