package spool

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
)

func TestHowAMessageEndedIsKnownAfterIt(t *testing.T) {
	tests := []struct {
		name   string
		events []Event
		want   Ending
	}{
		{"all recipients have it", []Event{{Kind: Delivered, Dest: "d"}, {Kind: Settled}}, HasDelivered},
		{"a recipient will never have it", []Event{{Kind: Failed, Dest: "d"}, {Kind: Settled}}, HasFailed},
		{"somebody removed it", []Event{{Kind: Deferred, Dest: "d"}}, WasRemoved},
		{"somebody removed it before any attempt", nil, WasRemoved},
	}
	s := open(t, durable.New())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := queue(t, s, "Subject: x\n\n", "ann@example.org")
			l, err := s.Lock(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Unlock()
			if _, err := s.Ended(id); !errors.Is(err, ErrUnknown) {
				t.Errorf("Ended of a queued message = %v, want ErrUnknown", err)
			}
			if err := errors.Join(l.Record(t.Context(), tt.events...), l.Remove(t.Context())); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Ended(id); got != tt.want || err != nil {
				t.Errorf("Ended = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestASpoolThatNobodyUsesAnyMoreIsNotMapped(t *testing.T) {
	dir := t.TempDir()
	for range 10 {
		s, err := Open(durable.New(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.NoteEnd(s.NewID(), HasDelivered)
	}
	maps := func() int {
		text, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), dir)
	}
	for end := time.Now().Add(time.Minute); maps() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d tables are in memory still", maps())
		}
		runtime.GC()
	}
}

func TestOfTwentyThousandEndingsFewAreForgotten(t *testing.T) {
	const many = 20_000
	s := open(t, durable.New())
	var ids []ID
	for range many {
		id := s.NewID()
		s.NoteEnd(id, HasDelivered)
		ids = append(ids, id)
	}
	lost := 0
	for _, id := range ids {
		if _, err := s.Ended(id); err != nil {
			lost++
		}
	}
	if lost > many/100 {
		t.Errorf("%d of %d are forgotten", lost, many)
	}
	if st, err := os.Stat(s.Path("queue/ended")); err != nil || st.Size() > endingRows*endingRow {
		t.Errorf("the file has %v, want at most %d octets", st, endingRows*endingRow)
	}
}

func TestWhatTheFileOfEndingsDoesNotHoldIsUnknown(t *testing.T) {
	s := open(t, durable.New())
	id := s.NewID()
	s.NoteEnd(id, HasDelivered)
	row, _ := endingOf(id, 0)
	for name, garbage := range map[string]string{"torn": "\xff\xff\xff", "short": "x"} {
		f, err := os.OpenFile(s.Path("queue/ended"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		for place := int64(10); place < endingRow; place += endingSize {
			if _, err := f.WriteAt([]byte(garbage), row*endingRow+place); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
		if how, err := s.Ended(id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: Ended = %v, %v, want ErrUnknown", name, how, err)
		}
	}
	if _, err := s.Ended("nonsense"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Ended of no ID = %v, want ErrUnknown", err)
	}
}

func TestAFileOfEndingsThatIsCutShortIsWrittenAgain(t *testing.T) {
	s := open(t, durable.New())
	s.NoteEnd(s.NewID(), HasDelivered)
	if err := os.Truncate(s.Path("queue/ended"), 0); err != nil {
		t.Fatal(err)
	}
	id := s.NewID()
	s.NoteEnd(id, HasFailed) // a fault, where the file is mapped
	if how, err := s.Ended(id); how != HasFailed || err != nil {
		t.Errorf("Ended = %v, %v, want %v", how, err, HasFailed)
	}
}

func TestProcessesShareTheFileOfEndings(t *testing.T) {
	one, other := open(t, durable.New()), (*Spool)(nil)
	other, err := Open(durable.New(), one.Path(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Spool{one, other, one} {
		id := s.NewID()
		s.NoteEnd(id, HasDelivered)
		for _, asked := range []*Spool{one, other} {
			if how, err := asked.Ended(id); how != HasDelivered || err != nil {
				t.Errorf("Ended = %v, %v, want %v", how, err, HasDelivered)
			}
		}
	}
}
