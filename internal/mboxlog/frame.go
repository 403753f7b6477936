package mboxlog

import (
	"encoding/binary"
	"hash/crc32"
)

// A log begins with headSize octets: the text magic, the log's random id and a
// CRC-32C of both. Then follow frames, each with a header of frameHead octets:
//
//	0   2  frameMagic, so that zeros are never a frame
//	2   1  kind, never 0
//	3   1  0
//	4   4  length of the payload
//	8   8  synced: up to this offset the log was on the disk when the frame was written
//	16  4  CRC of the frame before, 0 for the first
//	20  4  CRC-32C of log id, offset, the fields above and the payload
//
// All numbers are little-endian.
const (
	magic      = "postbag mailbox log 1\n\n\n"
	headSize   = 40
	frameHead  = 24
	frameMagic = 0xB64D
	maxPayload = 1 << 30
)

// Kinds of frames that belong to this package; the caller's begin at KindUser.
const (
	kindSettled = 1 // the directory entry of this log is on the disk
	kindSealed  = 2 // the log that replaces this one is complete
	// KindDamage stands where frames were lost. Its payload is one octet: 1
	// when they had been synced, which is all that there is to say.
	KindDamage = 3
	// KindUser is the first kind that callers may use.
	KindUser = 16
)

// A Record is what a caller appends: a kind of at least KindUser and a payload
// of this package's ignorance.
type Record struct {
	Kind    byte
	Payload []byte
}

// A Position is a place between two frames of one log.
type Position struct {
	ID     uint64 // of the log
	Offset int64
	CRC    uint32 // of the frame before
}

func encodeHead(id uint64) []byte {
	b := make([]byte, headSize)
	copy(b, magic)
	binary.LittleEndian.PutUint64(b[len(magic):], id)
	binary.LittleEndian.PutUint32(b[len(magic)+8:], crc(0, b[:len(magic)+8]))
	return b
}

func decodeHead(b []byte) (id uint64, ok bool) {
	if len(b) < headSize || string(b[:len(magic)]) != magic {
		return 0, false
	}
	sum := binary.LittleEndian.Uint32(b[len(magic)+8:])
	return binary.LittleEndian.Uint64(b[len(magic):]), sum == crc(0, b[:len(magic)+8])
}

func crc(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// appendFrame encodes a frame that begins at p.Offset, and gives the position
// after it.
func appendFrame(b []byte, p Position, synced int64, r Record) ([]byte, Position) {
	var h [frameHead]byte
	binary.LittleEndian.PutUint16(h[0:], frameMagic)
	h[2] = r.Kind
	binary.LittleEndian.PutUint32(h[4:], uint32(len(r.Payload)))
	binary.LittleEndian.PutUint64(h[8:], uint64(synced))
	binary.LittleEndian.PutUint32(h[16:], p.CRC)
	sum := frameSum(p.ID, p.Offset, h[:20], r.Payload)
	binary.LittleEndian.PutUint32(h[20:], sum)
	b = append(append(b, h[:]...), r.Payload...)
	return b, Position{p.ID, p.Offset + frameHead + int64(len(r.Payload)), sum}
}

func frameSum(id uint64, offset int64, head, payload []byte) uint32 {
	var seed [16]byte
	binary.LittleEndian.PutUint64(seed[:], id)
	binary.LittleEndian.PutUint64(seed[8:], uint64(offset))
	return crc(crc(crc(0, seed[:]), head), payload)
}

// frame is a decoded frame; payload aliases the buffer it was decoded from.
type frame struct {
	Record
	synced int64
	prev   uint32
	end    Position
}

// decodeFrame decodes the frame at the start of b, which stands at offset of
// the log. ok is false when no whole and sound frame stands there.
func decodeFrame(b []byte, id uint64, offset int64) (f frame, ok bool) {
	if len(b) < frameHead || binary.LittleEndian.Uint16(b) != frameMagic || b[2] == 0 || b[3] != 0 {
		return frame{}, false
	}
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	if n > maxPayload || n > int64(len(b)-frameHead) {
		return frame{}, false
	}
	payload := b[frameHead : frameHead+n]
	sum := binary.LittleEndian.Uint32(b[20:])
	if sum != frameSum(id, offset, b[:20], payload) {
		return frame{}, false
	}
	return frame{
		Record: Record{b[2], payload},
		synced: int64(binary.LittleEndian.Uint64(b[8:])),
		prev:   binary.LittleEndian.Uint32(b[16:]),
		end:    Position{id, offset + frameHead + n, sum},
	}, true
}

// findFrame looks in b, which stands at offset of the log, for the first sound
// frame, whatever stands before it.
func findFrame(b []byte, id uint64, offset int64) (at int, f frame, ok bool) {
	for at = range b {
		if b[at] != frameMagic&0xFF {
			continue
		}
		if f, ok = decodeFrame(b[at:], id, offset+int64(at)); ok {
			return at, f, true
		}
	}
	return 0, frame{}, false
}
