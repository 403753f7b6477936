package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
	"postbag/internal/spool"
)

// told is what an operation that met a fault has answered.
type told struct {
	errs []error // of each recipient of LMTP
	err  error
}

// offer takes a letter in, and makes a pass over the queue.
func (x *told) offer(fs *durable.FS, root string, most int, proto, from string, to ...string) error {
	*x = told{}
	r, in, err := program(fs, root)
	if err != nil {
		x.err = err
		return err
	}
	r.Spool.HandOver(most)
	env := &spool.Envelope{From: addr(from), Proto: proto, UID: -1}
	for _, a := range to {
		env.To = append(env.To, spool.Recipient{Address: addr(a)})
	}
	tx, err := in.Begin(context.Background(), env)
	if err == nil {
		if _, err = io.WriteString(tx, "Subject: x\n\n"+strings.Repeat("text\n", 300)); err != nil {
			tx.Discard()
		} else {
			x.errs, err = tx.Commit(context.Background())
		}
	}
	x.err = err
	return errors.Join(err, r.Once(context.Background()))
}

// TestEachFaultAtEachStepOfALettersWay fails each step of taking letters in and
// bringing them on. What was answered with success arrives, once, when the disk
// is well again; what was not is not there.
func TestEachFaultAtEachStepOfALettersWay(t *testing.T) {
	tests := []struct {
		name, proto, from string
		to, boxes         []string
	}{
		{"the direct way", "ESMTP", "x@far.example", []string{"ann@here.example"}, []string{"ann"}},
		{"the direct way of two", "LMTP", "x@far.example", []string{"ann@here.example", "bob@here.example"}, []string{"ann", "bob"}},
		{"the queue", "ESMTP", "x@far.example", []string{"team@here.example", "ann@here.example"}, []string{"ann", "bob"}},
		{"the queue, with another host", "ESMTP", "x@far.example", []string{"ann@here.example", "eve@far.example"}, []string{"ann", "peer took"}},
		{"the queue, only for another host", "ESMTP", "x@far.example", []string{"eve@far.example"}, []string{"peer took"}},
		{"a report", "ESMTP", "ann@here.example", []string{"nobody@here.example", "nobody2@here.example"}, []string{"ann"}},
	}
	for _, tt := range tests {
		for name, most := range handOvers {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				var said told
				mailtest.Faults(t, mailtest.FaultScenario{
					Setup: setUp,
					Run: func(fs *durable.FS, root string) error {
						return said.offer(fs, root, most, tt.proto, tt.from, tt.to...)
					},
					Check: func(root string, _ error) error {
						if err := recoverQueue(durable.New(), root); err != nil {
							return err
						}
						for i, box := range tt.boxes {
							err := said.err
							if said.errs != nil {
								err = said.errs[i]
							}
							if err := arrived(root, box, err == nil, len(inQueue(root)) == 0); err != nil {
								return err
							}
						}
						return nil
					},
				})
			})
		}
	}
}

// arrived checks what is in a mailbox, or with the peer.
func arrived(root, box string, want, queueEmpty bool) error {
	n := 0
	if box == "peer took" {
		text, _ := os.ReadFile(filepath.Join(root, box))
		n = min(len(text), 1) // RFC 1047: twice when the disk did not take its 250
	}
	files, _ := filepath.Glob(filepath.Join(root, box, "new", "*"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || strings.Count(string(text), "text\n") != 300 {
			return fmt.Errorf("%s is torn: %v", f, err)
		}
		n++
	}
	if !queueEmpty || (n == 1) != want || n > 1 {
		return fmt.Errorf("%s has %d letters, answered with success: %t; queue empty: %t", box, n, want, queueEmpty)
	}
	return nil
}
