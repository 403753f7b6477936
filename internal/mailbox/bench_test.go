package mailbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/maildir"
)

const benchLetters = 100_000

// bigFolder makes a Maildir of benchLetters small letters.
func bigFolder(b *testing.B) string {
	b.Helper()
	if testing.Short() {
		b.Skip("makes a hundred thousand files")
	}
	dir := filepath.Join(b.TempDir(), "big")
	if err := maildir.Init(durable.New(), dir, 0o700); err != nil {
		b.Fatal(err)
	}
	for i := range benchLetters {
		name := fmt.Sprintf("cur/%d.M%dP7Q%dR0123456789abcdef.example,S=20,W=22:2,", 1700000000+i/7, i%1000000, i)
		if err := os.WriteFile(filepath.Join(dir, name), []byte("Subject: letter\n\nhi\n"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

func benchStore(b *testing.B) *Store {
	s := NewStore(durable.New(), Options{Now: func() time.Time { return time.Now().Add(time.Hour) }})
	b.Cleanup(func() { s.Close() })
	return s
}

func benchOpen(b *testing.B, s *Store, dir string) *Folder {
	b.Helper()
	ctx := context.Background()
	f, err := s.Open(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(ctx); err != nil {
		b.Fatal(err)
	}
	if f.View().Len() != benchLetters {
		b.Fatalf("%d letters", f.View().Len())
	}
	return f
}

// BenchmarkFolder runs the life of a folder of a hundred thousand letters. Each
// line is the time of one operation on all of them.
func BenchmarkFolder(b *testing.B) {
	dir := bigFolder(b)
	ctx := context.Background()
	b.Run("first opening", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			for _, name := range []string{logName, snapName} {
				os.Remove(filepath.Join(dir, name))
			}
			s := benchStore(b)
			b.StartTimer()
			f := benchOpen(b, s, dir)
			b.StopTimer()
			f.Close()
			b.StartTimer()
		}
	})
	b.Run("opening, unchanged", func(b *testing.B) {
		s := benchStore(b)
		for b.Loop() {
			f := benchOpen(b, s, dir)
			b.StopTimer()
			f.Close()
			b.StartTimer()
		}
	})
	b.Run("opening by a fresh process", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s := benchStore(b)
			b.StartTimer()
			f := benchOpen(b, s, dir)
			b.StopTimer()
			f.Close()
			s.Close()
			b.StartTimer()
		}
	})
	for _, fresh := range []bool{false, true} {
		b.Run(fmt.Sprint("opening, one letter is new, fresh process ", fresh), func(b *testing.B) {
			s := benchStore(b)
			more := 0
			for b.Loop() {
				b.StopTimer()
				if fresh {
					s.Close()
					s = benchStore(b)
				}
				more++
				name := filepath.Join(dir, "new", fmt.Sprintf("1800000000.M%dP7Q1R0123456789abcdef.example", more))
				if err := os.WriteFile(name, []byte("Subject: letter\n\nhi\n"), 0o600); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				f, err := s.Open(ctx, dir)
				if err == nil {
					err = f.Sync(ctx)
				}
				if err != nil || f.View().Len() != benchLetters+more {
					b.Fatalf("%d letters: %v", f.View().Len(), err)
				}
				b.StopTimer()
				f.Close()
				b.StartTimer()
			}
			for ; more > 0; more-- {
				os.Remove(filepath.Join(dir, "new", fmt.Sprintf("1800000000.M%dP7Q1R0123456789abcdef.example", more)))
			}
			s.Close()
		})
	}
	b.Run("opening, changed", func(b *testing.B) {
		s := benchStore(b)
		for b.Loop() {
			b.StopTimer()
			now := time.Now()
			os.Chtimes(filepath.Join(dir, "cur"), now, now)
			b.StartTimer()
			f := benchOpen(b, s, dir)
			b.StopTimer()
			f.Close()
			b.StartTimer()
		}
	})
	s := benchStore(b)
	f := benchOpen(b, s, dir)
	defer f.Close()
	b.Run("sync, unchanged", func(b *testing.B) {
		for b.Loop() {
			if err := f.Sync(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	uids := make([]uint32, benchLetters)
	for i := range uids {
		uids[i] = f.View().At(i).UID
	}
	seen := Flags(0)
	b.Run("store, answered", func(b *testing.B) {
		for b.Loop() {
			seen ^= Seen
			if _, err := f.Store(ctx, uids, FlagChange{Set: seen, Clear: Seen &^ seen}, Always); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := f.PayDebts(ctx); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("store, paid", func(b *testing.B) {
		for b.Loop() {
			seen ^= Seen
			if _, err := f.Store(ctx, uids, FlagChange{Set: seen, Clear: Seen &^ seen}, Always); err != nil {
				b.Fatal(err)
			}
			if err := f.PayDebts(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("walk", func(b *testing.B) {
		n := 0
		for b.Loop() {
			v := f.View()
			for i := range v.Len() {
				if v.At(i).Flags&Seen != 0 {
					n++
				}
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			a := f.NewAppend()
			if err := a.Add(0, nil, time.Time{}, strings.NewReader("Subject: letter\r\n\r\nhi\r\n")); err != nil {
				b.Fatal(err)
			}
			if _, err := a.Commit(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	g := benchStore(b)
	h, err := g.Open(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("%.1f octets a letter in memory after opening", float64(after.HeapAlloc-before.HeapAlloc)/benchLetters)
	h.Close()
}
