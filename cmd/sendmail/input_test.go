package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
)

func goList() (string, error) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	return string(out), err
}

func TestInput(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, tt := range map[string]struct {
		in, want string
		dots     bool
	}{
		"lines stay":                         {in: "a\nb\n", want: "a\nb\n"},
		"CRLF becomes LF":                    {in: "a\r\nb\r\n", want: "a\nb\n"},
		"several CRs belong to the line end": {in: "a\r\r\nb", want: "a\nb\n"},
		"a lone CR is a line end":            {in: "10%\r20%\n", want: "10%\n20%\n"},
		"a CR at the end is one":             {in: "a\r", want: "a\n"},
		"the last line gets its end":         {in: "a", want: "a\n"},
		"nothing stays nothing":              {},
		"a dot ends":                         {in: "a\n.\nb\n", want: "a\n", dots: true},
		"a dot and CRLF end":                 {in: "a\r\n.\r\nb\r\n", want: "a\n", dots: true},
		"a dot at the end ends":              {in: "a\n.", want: "a\n", dots: true},
		"a dot first ends":                   {in: ".\na\n", want: "", dots: true},
		"a dot is text with -i":              {in: "a\n.\nb\n", want: "a\n.\nb\n"},
		"a dot in a line is text":            {in: "a\n.b\n..\n. \n.\r.\n", want: "a\n.b\n..\n. \n.\n.\n", dots: true},
		"a long line stays whole":            {in: long + "\r\n.\r\n", want: long + "\n", dots: true},
	} {
		for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
			got, err := io.ReadAll(newInput(r, tt.dots))
			if err != nil || string(got) != tt.want {
				t.Errorf("%s: input of %.40q = %.40q, %v; want %.40q", name, tt.in, got, err, tt.want)
			}
		}
	}
}

func TestInputThatBreaksIsAnError(t *testing.T) {
	r := io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := io.ReadAll(newInput(r, true)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestSkipFromLines(t *testing.T) {
	for in, want := range map[string]string{
		"From a b\n>From c\nTo: x\n": "To: x\n",
		"To: x\nFrom y\n":            "To: x\nFrom y\n",
		"From: x\n":                  "From: x\n",
		"From alone":                 "",
		"":                           "",
	} {
		br := bufio.NewReader(strings.NewReader(in))
		err := skipFromLines(br)
		if rest, _ := io.ReadAll(br); err != nil || string(rest) != want {
			t.Errorf("skipFromLines(%q) leaves %q, %v; want %q", in, rest, err, want)
		}
	}
}

func TestNULsAreDropped(t *testing.T) {
	var b bytes.Buffer
	n, err := withoutNUL{&b}.Write([]byte("a\x00b\x00"))
	if n != 4 || err != nil || b.String() != "ab" {
		t.Errorf("Write = %d, %v: %q", n, err, b.String())
	}
}

func TestASignalEndsReading(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	defer pw.Close()
	r := interruptible(ctx, pr)
	stop()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read = %v", err)
	}
}
