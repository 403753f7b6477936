package mailcache

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
)

func entry(n int) Entry {
	return Entry{
		ASCII: n%2 == 0, Envelope: fmt.Appendf(nil, "(env %d)", n), Body: []byte("(b)"), BodyStructure: fmt.Appendf(nil, "(bs %d)", n),
		Fields: Fields(nil).Add("Subject", fmt.Sprint("letter ", n)).Add("To", ""),
	}
}

func (c *Cache) mustHave(t *testing.T, from, to int) {
	t.Helper()
	inOrder, backwards := c.Reader(), c.Reader()
	for n := from; n <= to; n++ {
		if e, ok := inOrder.Get(uint32(n)); !ok || !reflect.DeepEqual(e, entry(n)) {
			t.Fatalf("letter %d: %v, %+v", n, ok, e)
		}
		n := to - (n - from)
		if e, ok := backwards.Get(uint32(n)); !ok || !reflect.DeepEqual(e, entry(n)) {
			t.Fatalf("backwards, letter %d: %v, %+v", n, ok, e)
		}
	}
}

func TestADateKeepsItsZone(t *testing.T) {
	c := Open(durable.New(), filepath.Join(t.TempDir(), "cache"), "F", 9)
	defer c.Close()
	for n, zone := range []int{0, -7 * 3600, 20700, 99*3600 + 99*60} {
		sent := time.Date(1601, 2, 3, 23, 59, 58, 0, time.FixedZone("", zone))
		c.Put(uint32(n+1), Entry{Sent: sent})
		c.Flush()
		if e, _ := c.Reader().Get(uint32(n + 1)); e.Sent.String() != sent.String() {
			t.Errorf("%v came back as %v", sent, e.Sent)
		}
	}
}

func fill(c *Cache, from, to int) {
	for n := from; n <= to; n++ {
		c.Put(uint32(n), entry(n))
	}
}

func TestWhatWasPutIsThereAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	c := Open(durable.New(), path, "F1 7", 5000)
	fill(c, 1, 3000)
	c.mustHave(t, 1, 3000) // some of it not yet in the file
	c.Close()
	c = Open(durable.New(), path, "F1 7", 5000)
	defer c.Close()
	c.mustHave(t, 1, 3000)
	c.mustHave(t, 7, 7) // backwards
	if _, ok := c.Reader().Get(3001); ok {
		t.Error("a letter that nobody put")
	}
}

func TestAnotherFolderInItsPlaceHasNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	c := Open(durable.New(), path, "F1 7", 5000)
	fill(c, 1, 10)
	c.Close()
	c = Open(durable.New(), path, "F1 8", 5000)
	defer c.Close()
	if _, ok := c.Reader().Get(1); ok {
		t.Error("it has the other folder's")
	}
	fill(c, 1, 10)
	c.Flush()
	c.mustHave(t, 1, 10)
}

// What another version has remembered of the same folder may not be what this one
// says of its letters.
func TestAnotherVersionHasNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	for _, version := range []int{2, Version - 1, Version + 1} {
		c := Open(durable.New(), path, "F1 7", 5000)
		fill(c, 1, 10)
		c.Close()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n")
		write(t, path, fmt.Appendf(nil, "postbag cache %d F1 7\n%s", version, rest))
		c = Open(durable.New(), path, "F1 7", 5000)
		if e, ok := c.Reader().Get(1); ok {
			t.Errorf("version %d: it has %+v", version, e)
		}
		fill(c, 1, 10)
		c.Close()
		c = Open(durable.New(), path, "F1 7", 5000)
		c.mustHave(t, 1, 10)
		c.Close()
	}
}

func TestLettersThatAreGoneDoNotGatherForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	c := Open(durable.New(), path, "F", 0)
	fill(c, 1, spare+1)
	c.Close()
	c = Open(durable.New(), path, "F", 1)
	c.mustHave(t, 1, spare+1)
	c.Close()
	c = Open(durable.New(), path, "F", 0)
	defer c.Close()
	if _, ok := c.Reader().Get(1); ok {
		t.Error("it has kept them")
	}
}

func TestTwoWritersSeeEachOthersEntries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	a := Open(durable.New(), path, "F", 5000)
	b := Open(durable.New(), path, "F", 5000)
	defer a.Close()
	defer b.Close()
	var wg sync.WaitGroup
	wg.Go(func() { fill(a, 1, 2000); a.Flush() })
	wg.Go(func() { fill(b, 1001, 3000); b.Flush() })
	wg.Wait()
	a.mustHave(t, 1, 3000)
	b.mustHave(t, 1, 3000)
}

func TestDamageIsNeverShown(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string, text []byte){
		"a flipped bit in a payload": func(t *testing.T, path string, text []byte) {
			text[len(text)-3] ^= 4
			write(t, path, text)
		},
		"a flipped bit in a frame": func(t *testing.T, path string, text []byte) {
			text[len((&Cache{folder: "F"}).head())+5] ^= 4
			write(t, path, text)
		},
		"a torn end":        func(t *testing.T, path string, text []byte) { write(t, path, text[:len(text)-5]) },
		"a torn long frame": func(t *testing.T, path string, text []byte) { write(t, path, append(text, torn(1<<19)...)) },
		"a torn header":     func(t *testing.T, path string, text []byte) { write(t, path, text[:7]) },
		"zeroes":            func(t *testing.T, path string, text []byte) { write(t, path, make([]byte, len(text))) },
		"nothing":           func(t *testing.T, path string, text []byte) { write(t, path, nil) },
		"garbage behind it": func(t *testing.T, path string, text []byte) { write(t, path, append(text, make([]byte, 100)...)) },
	} {
		path := filepath.Join(t.TempDir(), "cache")
		c := Open(durable.New(), path, "F", 5000)
		fill(c, 1, 20)
		c.Close()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		harm(t, path, text)
		c = Open(durable.New(), path, "F", 5000)
		for n := 1; n <= 20; n++ {
			if e, ok := c.Reader().Get(uint32(n)); ok && !reflect.DeepEqual(e, entry(n)) {
				t.Errorf("%s: letter %d: %+v", name, n, e)
			}
		}
		for range 2 { // what is put behind a torn end shows that it is one
			fill(c, 1, 20)
			c.Flush()
		}
		c.mustHave(t, 1, 20)
		c.Close()
	}
}

// torn is a frame whose writer died before its payload, of n octets.
func torn(n uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, frameMagic)
	b = binary.LittleEndian.AppendUint32(b, 99)
	b = binary.LittleEndian.AppendUint32(b, n)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryThatTakesNothing(t *testing.T) {
	c := Open(durable.New(), filepath.Join(t.TempDir(), "none", "cache"), "F", 9)
	defer c.Close()
	c.Put(1, entry(1))
	if _, ok := c.Reader().Get(1); ok {
		t.Error("it was kept")
	}
}

func TestTheFileCanBeCutUnderIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	c := Open(durable.New(), path, "F", 5000)
	defer c.Close()
	fill(c, 1, 5000)
	c.Flush()
	r := c.Reader()
	r.Get(1)
	os.Truncate(path, 100)
	for n := 1; n <= 5000; n++ {
		if e, ok := r.Get(uint32(n)); ok && !reflect.DeepEqual(e, entry(n)) {
			t.Fatalf("letter %d: %+v", n, e)
		}
	}
	fill(c, 1, 100)
	c.mustHave(t, 1, 100)
}

// FuzzFile reads files that anybody may have written: it shows no entry that was
// not put, and works on.
func FuzzFile(f *testing.F) {
	dir := mailtest.Memory(f)
	path := filepath.Join(dir, "cache")
	c := Open(durable.New(), path, "F", 5000)
	fill(c, 1, 3)
	c.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add((&Cache{folder: "F"}).head())
	f.Fuzz(func(t *testing.T, text []byte) {
		write(t, path, text)
		c := Open(durable.New(), path, "F", 5000)
		defer c.Close()
		for n := range 5 {
			if e, ok := c.Reader().Get(uint32(n)); ok && !reflect.DeepEqual(e, entry(n)) {
				t.Fatalf("letter %d: %+v", n, e)
			}
		}
		for range 2 { // what is put behind a torn end shows that it is one
			fill(c, 1, 7)
			c.Flush()
		}
		c.mustHave(t, 1, 7)
		again := Open(durable.New(), path, "F", 5000)
		defer again.Close()
		again.mustHave(t, 1, 7)
	})
}
