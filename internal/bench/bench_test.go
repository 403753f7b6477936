package main

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestReplies(t *testing.T) {
	for in, want := range map[string]struct{ done, wrong bool }{
		"250 ok\r\n250 ok\r\n354 go\r\n":      {done: true},
		"250-one\r\n250 two\r\n250 x\r\n354 ": {},
		"250-one\r\n250 two\r\n250 x\r\n":     {},
		"250 ok\r\n250 ok\r\n354":             {},
		"250 ok\r\n550 no\r\n503 no\r\n":      {wrong: true},
		"":                                    {},
	} {
		done, err := replies([]byte(in), []string{"250", "250", "354"})
		if done != want.done || (err != nil) != want.wrong {
			t.Errorf("replies(%q) = %v, %v; want %+v", in, done, err, want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestTheLetterHasItsSize(t *testing.T) {
	if n := len(letterText()); n != letterSize {
		t.Errorf("%d octets, want %d", n, letterSize)
	}
}

func TestProcessorTimeOfATree(t *testing.T) {
	start := ownCPU()
	for ownCPU()-start < 50*time.Millisecond {
		median(make([]float64, 1000))
	}
	got, err := treeCPU(os.Getpid())
	if err != nil || got < 40*time.Millisecond {
		t.Errorf("%v, %v; want at least 40 ms", got, err)
	}
}

// TestTheBareDisk takes a turn of a few letters.
func TestTheBareDisk(t *testing.T) {
	b := &bench{options: options{dir: t.TempDir(), letters: 7, mailboxes: 2}}
	for _, shared := range []bool{false, true} {
		d := &disk{b: b, shared: shared}
		got, err := d.turn(3)
		if err != nil || got.Letters != 7 || got.Elapsed <= 0 {
			t.Errorf("%s: %+v, %v", d.name(), got, err)
		}
	}
}

// TestMain lets the test's own program be the bare disk.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		fail(bareDisk(os.Args[2:]))
		return
	}
	os.Exit(m.Run())
}

func TestStraceTables(t *testing.T) {
	got := parseStrace(`% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ------------------
 55.07    1.459805        4100       356        31 fsync
  3.66    0.096953         193       500           fdatasync
------ ----------- ----------- --------- --------- ------------------
100.00    1.556758           0       856        31 total
`)
	if got["fsync"] != 356 || got["fdatasync"] != 500 {
		t.Errorf("%v", got)
	}
}

// TestProcessorTimeNeverGoesBack: children that end while their tree is looked at
// count all the same.
func TestProcessorTimeNeverGoesBack(t *testing.T) {
	done := make(chan error)
	go func() {
		var err error
		for range 20 {
			err = errors.Join(err, exec.Command("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").Run())
		}
		done <- err
	}()
	for last := time.Duration(0); ; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
		now, err := treeCPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now < last {
			t.Fatalf("%v, and then %v", last, now)
		}
		last = now
	}
}
