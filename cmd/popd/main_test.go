package main

import (
	"testing"

	"postbag/cmd/internal/scripttest"
)

func TestScripts(t *testing.T) { scripttest.Run(t, "popd") }

func TestManPage(t *testing.T) { scripttest.CheckPage(t, "popd", "../../man/popd.8") }
