package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"postbag/internal/message"
)

// errDamaged is in every error about a file that is not what we wrote.
var errDamaged = errors.New("damaged")

// castagnoli is CRC-32C, which processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The field stands first in a queue file:
//
//	X-Postbag-Envelope: 1 LLLLLLLLLLLLLLLL CCCCCCCC NNNNNNNN EEEEEEEE
//	 {"id":...}
//	 {"to":...}
//
// L is the length of what follows the field and C its CRC-32C, both known only
// at the end of the message and then written over zeros; N and E are length and
// CRC-32C of the lines that follow. All are hexadecimal.
const (
	fieldStart  = message.EnvelopeField + ": 1 "
	fieldFirst  = len(fieldStart) + 16 + 1 + 8 + 1 + 8 + 1 + 8 + 1 // the first line with its LF
	maxEnvelope = 64 << 20                                         // octets of a field that is still believed
)

// appendField appends the field of an envelope, its sums still zero.
func appendField(b []byte, e *Envelope) ([]byte, error) {
	lines, err := e.lines()
	if err != nil {
		return nil, fmt.Errorf("envelope of %s: %w", e.ID, err)
	}
	var rest []byte
	for _, line := range lines {
		rest = append(rest, ' ')
		rest = append(rest, line...)
		rest = append(rest, '\n')
	}
	b = append(b, fieldStart...)
	b = append(b, sums(0, 0)...)
	b = fmt.Appendf(b, " %08X %08X\n", len(rest), crc32.Checksum(rest, castagnoli))
	return append(b, rest...), nil
}

// sums is what is written over the zeros once the message is whole.
func sums(length int64, crc uint32) []byte {
	return fmt.Appendf(nil, "%016X %08X", length, crc)
}

// A head is what the first field of a queue file says.
type head struct {
	env    *Envelope
	size   int    // octets of the field itself
	length int64  // octets that follow it
	crc    uint32 // their CRC-32C
}

// errShort says that the field goes on behind what was read.
var errShort = fmt.Errorf("%w: envelope ends early", errDamaged)

// parseHead reads the field at the start of a queue file. b need not hold the
// whole file; with errShort it says how much more of it to read.
func parseHead(b []byte) (h head, need int, err error) {
	if len(b) < fieldFirst {
		return h, fieldFirst, errShort
	}
	h, size, sum, err := parseFirst(b[:fieldFirst])
	if err != nil {
		return h, 0, err
	}
	h.size = fieldFirst + size
	if len(b) < h.size {
		return h, h.size, errShort
	}
	rest := b[fieldFirst:h.size]
	if crc32.Checksum(rest, castagnoli) != sum {
		return h, 0, fmt.Errorf("%w: checksum of the envelope", errDamaged)
	}
	var lines [][]byte
	for line := range bytes.Lines(rest) {
		if len(line) < 2 || line[0] != ' ' || line[len(line)-1] != '\n' {
			return h, 0, fmt.Errorf("%w: envelope is not folded", errDamaged)
		}
		lines = append(lines, line[1:len(line)-1])
	}
	h.env, err = parseEnvelope(lines)
	return h, 0, err
}

// parseFirst reads the first line of the field.
func parseFirst(line []byte) (h head, size int, sum uint32, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(fieldStart))
	if ok {
		var n [4]uint64
		for i, width := range [...]int{16, 8, 8, 8} {
			if n[i], err = strconv.ParseUint(string(rest[:width]), 16, 63); err != nil {
				ok = false
			}
			rest = rest[width+1:]
		}
		h.length, h.crc, size, sum = int64(n[0]), uint32(n[1]), int(n[2]), uint32(n[3])
	}
	if !ok || size > maxEnvelope {
		return h, 0, 0, fmt.Errorf("%w: first field is no envelope", errDamaged)
	}
	return h, size, sum, nil
}
