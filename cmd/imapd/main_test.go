package main

import (
	"testing"

	"postbag/cmd/internal/scripttest"
)

func TestScripts(t *testing.T) { scripttest.Run(t, "imapd") }

func TestManPage(t *testing.T) { scripttest.CheckPage(t, "imapd", "../../man/imapd.8") }
