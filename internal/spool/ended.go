package spool

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	iofs "io/fs"
	"os"
	"slices"

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
// they are gone. It is a table of rows, a row for the IDs with the same hash, the
// newest first: of 20,000 endings fewer than one in a hundred is forgotten. It has
// a fixed size, takes no lock and is never synced: what it does not hold, nobody
// may conclude anything from.
const (
	endingSize = 16 // the ID in binary, the Ending, two zeros, CRC-32C of these
	endingRow  = 8 * endingSize
	endingRows = 8192
)

// NoteEnd remembers how a message ends. It may be forgotten again.
func (s *Spool) NoteEnd(id ID, how Ending) {
	f := s.endings()
	at, e := endingOf(id, how)
	if f == nil || e == nil {
		return
	}
	row := make([]byte, endingRow)
	n, _ := f.ReadAt(row, at)
	row = slices.Concat(e, row[:min(n, endingRow-endingSize)])
	_, _ = f.WriteAt(row, at)
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
	n, _ := f.ReadAt(row, at)
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

// endingOf gives an entry of the file and where its row is; nil for what is no ID.
func endingOf(id ID, how Ending) (at int64, entry []byte) {
	raw, err := hex.DecodeString(string(id))
	if err != nil || len(raw) != idLength/2 {
		return 0, nil
	}
	at = int64(crc32.ChecksumIEEE(raw)%endingRows) * endingRow
	entry = append(raw, byte(how), 0, 0)
	return at, binary.BigEndian.AppendUint32(entry, crc32.Checksum(entry, castagnoli))
}

// endings is the file, which the first to end a message makes; nil where that
// cannot be done.
func (s *Spool) endings() *os.File {
	s.openEndings.Do(func() {
		s.endingsFile, _ = os.OpenFile(s.Path("queue", "ended"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	})
	return s.endingsFile
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
