package spool

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// An Ending is how a message left the spool.
type Ending byte

// The numbers stand in the file.
const (
	HasDelivered Ending = 1 // every recipient has it
	HasFailed    Ending = 2 // one will never have it
	WasRemoved   Ending = 3 // somebody took it away before
)

// The file queue/ended remembers how the last messages ended, for who asks after
// they are gone. It is a table of rows, a row for the IDs with the same hash, whose
// places a process fills in turn: of its 20,000 last endings fewer than one in a
// hundred is forgotten. It has a fixed size, takes no lock and is never synced: what
// it does not hold, nobody may conclude anything from.
const (
	endingSize = 16 // the ID in binary, the Ending, two zeros, CRC-32C of these
	endingRow  = 8 * endingSize
	endingRows = 8192
)

// endings is the file as one process writes it: in memory where it can be mapped,
// since this is the only system call of a letter that nobody waits for.
type endings struct {
	file  *os.File // nil where there can be none
	table []byte   // nil where it is not mapped
	first uint32   // place of each row: not all programs begin at the same one
	next  [endingRows]atomic.Uint32
}

// NoteEnd remembers how a message ends. It may be forgotten again.
func (s *Spool) NoteEnd(id ID, how Ending) {
	all := s.endings()
	row, e := endingOf(id, how)
	if all.file == nil || e == nil {
		return
	}
	place := int64(all.first+all.next[row].Add(1)) % (endingRow / endingSize)
	if at := row*endingRow + place*endingSize; !all.put(at, e) {
		_, _ = all.file.WriteAt(e, at)
	}
}

// put writes where the file is mapped. A disk that fails or is full, and a file
// that somebody cuts short, are a fault then.
func (e *endings) put(at int64, entry []byte) (done bool) {
	if e.table == nil {
		return false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { done = recover() == nil }()
	copy(e.table[at:], entry)
	runtime.KeepAlive(e) // and so its table is mapped
	return true
}

// Ended says how a message ended that is not in the spool any more; ErrUnknown
// when nothing is known of it.
func (s *Spool) Ended(id ID) (Ending, error) {
	at, want := endingOf(id, 0)
	f, err := os.Open(s.Path("queue", "ended"))
	if errors.Is(err, iofs.ErrNotExist) || want == nil {
		return 0, fmt.Errorf("message %s: %w", id, ErrUnknown)
	}
	if err != nil {
		return 0, fmt.Errorf("end of message %s: %w", id, err)
	}
	defer f.Close()
	row := make([]byte, endingRow)
	n, _ := f.ReadAt(row, at*endingRow)
	for e := range slices.Chunk(row[:n], endingSize) {
		if len(e) < endingSize {
			break
		}
		how := Ending(e[idLength/2])
		if _, whole := endingOf(id, how); slices.Equal(e, whole) {
			return how, nil
		}
	}
	return 0, fmt.Errorf("message %s: %w", id, ErrUnknown)
}

// endingOf gives an entry of the file and its row; nil for what is no ID.
func endingOf(id ID, how Ending) (row int64, entry []byte) {
	raw, err := hex.DecodeString(string(id))
	if err != nil || len(raw) != idLength/2 {
		return 0, nil
	}
	row = int64(crc32.ChecksumIEEE(raw) % endingRows)
	entry = append(raw, byte(how), 0, 0)
	return row, binary.BigEndian.AppendUint32(entry, crc32.Checksum(entry, castagnoli))
}

// endings is made by the first to end a message.
func (s *Spool) endings() *endings {
	s.openEndings.Do(func() {
		s.ended = &endings{first: rand.Uint32()}
		s.ended.file, _ = os.OpenFile(s.Path("queue", "ended"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		s.ended.table = mapped(s.ended.file, endingRows*endingRow)
		runtime.AddCleanup(s.ended, func(table []byte) { unix.Munmap(table) }, s.ended.table)
	})
	return s.ended
}

// mapped gives a file in memory, with room on the disk for all of it; nil where
// that cannot be.
func mapped(f *os.File, size int) []byte {
	if f == nil || unix.Fallocate(int(f.Fd()), 0, 0, int64(size)) != nil {
		return nil
	}
	table, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil
	}
	return table
}

// ending is how the message of a lock ends if it is removed now.
func (l *Locked) ending() Ending {
	p := &l.entry.Progress
	switch {
	case slices.ContainsFunc(p.Rcpts, func(r State) bool { return r.Failure != nil }):
		return HasFailed
	case l.entry.Damage != nil || p.Pending():
		return WasRemoved
	}
	return HasDelivered
}
