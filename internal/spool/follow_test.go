package spool

import (
	"errors"
	"testing"
	"time"

	"postbag/internal/durable"
)

func TestAFollowerSeesHowAMessageEnds(t *testing.T) {
	s := open(t, durable.New())
	id := queue(t, s, "Subject: x\n\n", "ann@example.org")
	f, err := s.Follow(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if gone, err := f.Look(); gone || err != nil || len(f.Events()) != 0 {
		t.Errorf("Look = %v, %v, %v", gone, f.Events(), err)
	}
	l, err := s.Lock(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(t.Context(), Event{Kind: Attempted, Next: time.Now().UnixMicro()}, Event{Kind: Failed, Reply: "550 no"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone, err := f.Look()
	if all := f.Events(); !gone || err != nil || len(all) != 2 || all[1].Kind != Failed || all[1].Reply != "550 no" {
		t.Errorf("Look = %v, %v, %v", gone, all, err)
	}
	if all, err := s.Events(id); err != nil || len(all) != 0 {
		t.Errorf("Events of what is gone = %v, %v", all, err)
	}
	if _, err := s.Follow(t.Context(), id); !errors.Is(err, ErrUnknown) {
		t.Errorf("Follow of what is gone = %v", err)
	}
}
