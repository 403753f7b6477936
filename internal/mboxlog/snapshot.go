package mboxlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"postbag/internal/durable"
)

// A snapshot is what a reader made of a log up to a position, in sections that
// are read one by one. It is a convenience: whoever cannot use it reads the
// log. It is on the disk when WriteSnapshot returns, and its CRCs tell one that is
// not whole all the same.
//
//	0   24  snapMagic
//	24   8  id of the log
//	32   8  offset in the log
//	40   4  CRC of the frame before that offset
//	44   4  number of sections n
//	48      n times: length (8), CRC-32C (4)
//	        CRC-32C of all the above (4)
//	        the sections
const snapMagic = "postbag mailbox snap 1\n\n"

const (
	snapHead    = 48
	maxSections = 16
)

// ErrSnapshot means that there is no snapshot, or no sound one.
var ErrSnapshot = errors.New("no usable snapshot")

// A Snapshot is an open snapshot file.
type Snapshot struct {
	Position Position
	Sum      uint32 // tells it from others
	file     *os.File
	lengths  []int64
	sums     []uint32
	start    int64
}

// WriteSnapshot replaces the snapshot at path, and gives its Sum.
func WriteSnapshot(fs *durable.FS, path string, p Position, sections ...[]byte) (sum uint32, err error) {
	b := make([]byte, snapHead, snapHead+12*len(sections)+4)
	copy(b, snapMagic)
	binary.LittleEndian.PutUint64(b[24:], p.ID)
	binary.LittleEndian.PutUint64(b[32:], uint64(p.Offset))
	binary.LittleEndian.PutUint32(b[40:], p.CRC)
	binary.LittleEndian.PutUint32(b[44:], uint32(len(sections)))
	for _, s := range sections {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = binary.LittleEndian.AppendUint32(b, crc(0, s))
	}
	sum = crc(0, b)
	b = binary.LittleEndian.AppendUint32(b, sum)
	for _, s := range sections {
		b = append(b, s...)
	}
	return sum, fs.WriteFile(path, b, 0o600)
}

// OpenSnapshot opens the snapshot at path; any fault of it is ErrSnapshot.
func OpenSnapshot(fs *durable.FS, path string) (*Snapshot, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	s := &Snapshot{file: f}
	if err := s.readHead(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (s *Snapshot) readHead() error {
	b := make([]byte, snapHead+12*maxSections+4)
	read, _ := s.file.ReadAt(b, 0)
	b = b[:read]
	if len(b) < snapHead || string(b[:24]) != snapMagic {
		return ErrSnapshot
	}
	n := int(binary.LittleEndian.Uint32(b[44:]))
	end := snapHead + 12*n
	if n > maxSections || len(b) < end+4 || crc(0, b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return ErrSnapshot
	}
	s.Position = Position{
		ID:     binary.LittleEndian.Uint64(b[24:]),
		Offset: int64(binary.LittleEndian.Uint64(b[32:])),
		CRC:    binary.LittleEndian.Uint32(b[40:]),
	}
	s.Sum = binary.LittleEndian.Uint32(b[end:])
	for i := range n {
		s.lengths = append(s.lengths, int64(binary.LittleEndian.Uint64(b[snapHead+12*i:])))
		s.sums = append(s.sums, binary.LittleEndian.Uint32(b[snapHead+12*i+8:]))
	}
	s.start = int64(end) + 4
	return nil
}

// Length is that of section i; 0 when there is none.
func (s *Snapshot) Length(i int) int64 {
	if i >= len(s.lengths) {
		return 0
	}
	return s.lengths[i]
}

// Section reads section i and checks it.
func (s *Snapshot) Section(i int) ([]byte, error) {
	if i >= len(s.lengths) {
		return nil, ErrSnapshot
	}
	at := s.start
	for _, n := range s.lengths[:i] {
		at += n
	}
	st, err := s.file.Stat()
	if err != nil || s.lengths[i] < 0 || s.lengths[i] > durable.MaxRead || at+s.lengths[i] > st.Size() {
		return nil, ErrSnapshot
	}
	b := make([]byte, s.lengths[i])
	if _, err := s.file.ReadAt(b, at); err != nil && len(b) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if crc(0, b) != s.sums[i] {
		return nil, ErrSnapshot
	}
	return b, nil
}

// Close gives the file back.
func (s *Snapshot) Close() error { return s.file.Close() }
