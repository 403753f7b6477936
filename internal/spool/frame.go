package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A progress file is a sequence of frames:
//
//	magic (2) length (2+2: itself and its complement) sequence (4) first (4) last (4) CRC-32C (4) payload
//
// little-endian; the CRC covers all between magic and itself, and the payload.
// Frames are only appended, in one write for each batch; each says which is the
// last of its batch, and the first of all that become durable with it. A crash can leave the last batch
// torn, any part of it missing: it was never acknowledged, so all of it is cut
// off and a batch counts as a whole or not at all. A bad frame with one of a later batch behind it is damage
// and never mended silently.
const (
	frameMagic = 0xB0A6
	frameHead  = 22
	maxFrame   = 0xFFFF
)

func appendFrame(b []byte, seq, first, last uint32, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, frameMagic)
	start := len(b)
	n := uint16(len(payload))
	b = binary.LittleEndian.AppendUint16(b, n)
	b = binary.LittleEndian.AppendUint16(b, ^n)
	b = binary.LittleEndian.AppendUint32(b, seq)
	b = binary.LittleEndian.AppendUint32(b, first)
	b = binary.LittleEndian.AppendUint32(b, last)
	sum := crc32.Checksum(b[start:], castagnoli)
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(sum, castagnoli, payload))
	return append(b, payload...)
}

// nextFrame takes the frame at the start of b. ok is false when there is none
// or when it is not whole.
func nextFrame(b []byte) (seq uint32, payload, rest []byte, ok bool) {
	if len(b) < frameHead || binary.LittleEndian.Uint16(b) != frameMagic {
		return 0, nil, b, false
	}
	n := binary.LittleEndian.Uint16(b[2:])
	if n != ^binary.LittleEndian.Uint16(b[4:]) || len(b) < frameHead+int(n) {
		return 0, nil, b, false
	}
	payload = b[frameHead : frameHead+int(n)]
	sum := crc32.Update(crc32.Checksum(b[2:18], castagnoli), castagnoli, payload)
	if sum != binary.LittleEndian.Uint32(b[18:]) {
		return 0, nil, b, false
	}
	return binary.LittleEndian.Uint32(b[6:]), payload, b[frameHead+int(n):], true
}

// A scan is what the frames of a progress file hold.
type scan struct {
	payloads [][]byte
	seq      uint32 // of the last good frame
	good     int    // octets up to the end of the last good frame
	torn     bool   // something follows that is no frame
	damaged  bool   // and it is no torn batch: a later one follows it, or a frame is missing
}

// scanFrames reads a progress file.
func scanFrames(b []byte) scan {
	var s, whole scan // whole ends with a batch
	rest := b
	for len(rest) > 0 {
		seq, payload, next, ok := nextFrame(rest)
		if !ok {
			s.torn = true
			s.damaged = laterBatch(rest[1:], s.seq+1)
			break
		}
		if seq != s.seq+1 {
			s.damaged = true
			return s
		}
		s.payloads = append(s.payloads, payload)
		s.seq, rest = seq, next
		last := binary.LittleEndian.Uint32(b[s.good+14:])
		s.good = len(b) - len(rest)
		if seq == last {
			whole = s
		}
	}
	if !s.damaged && whole.seq != s.seq {
		s, s.torn = whole, true
	}
	return s
}

// laterBatch reports whether a good frame of a batch that began after seq is
// anywhere in b.
func laterBatch(b []byte, seq uint32) bool {
	magic := binary.LittleEndian.AppendUint16(nil, frameMagic)
	for {
		at := bytes.Index(b, magic)
		if at < 0 {
			return false
		}
		if _, _, _, ok := nextFrame(b[at:]); ok && binary.LittleEndian.Uint32(b[at+10:]) > seq {
			return true
		}
		b = b[at+1:]
	}
}
