package spool

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An ID names a message for ever: in the 250, in Received, in every log line
// and report. It is 18 upper-case hexadecimal digits: 13 of the microseconds
// since 1970, which no two IDs of one process share, and 5 of chance, which tell
// processes apart. IDs sort by age, and scripts that look for Postfix's
// [A-F0-9]{10,} find them.
type ID string

const (
	idTime   = 13
	idRandom = 5
	idLength = idTime + idRandom
)

// NewID gives an ID that no message has had.
func (s *Spool) NewID() ID {
	s.mu.Lock()
	usec := max(s.now().UnixMicro(), s.lastID+1)
	s.lastID = usec
	s.mu.Unlock()
	var random [4]byte
	rand.Read(random[:])
	return makeID(usec, binary.NativeEndian.Uint32(random[:]))
}

const digits = "0123456789ABCDEF"

func makeID(usec int64, random uint32) ID {
	var b [idLength]byte
	for i := idLength - 1; i >= idTime; i-- {
		b[i] = digits[random&15]
		random >>= 4
	}
	for i := idTime - 1; i >= 0; i-- {
		b[i] = digits[usec&15]
		usec >>= 4
	}
	return ID(b[:])
}

// ParseID checks that s has the form of an ID.
func ParseID(s string) (ID, error) {
	if len(s) != idLength || strings.Trim(s, digits) != "" {
		return "", fmt.Errorf("queue ID %q: %w", s, ErrUnknown)
	}
	return ID(s), nil
}

// Time is when the ID was given.
func (id ID) Time() time.Time {
	usec, _ := strconv.ParseInt(string(id[:idTime]), 16, 64)
	return time.UnixMicro(usec)
}

// fileName is the name of the message's file in queue/new.
func (id ID) fileName() string {
	t := id.Time()
	return fmt.Sprintf("%d.M%06dQ%s", t.Unix(), t.Nanosecond()/1000, id)
}

// idOfFile finds the ID in the name of a queue file, whatever flags a Maildir
// tool has given it.
func idOfFile(name string) (ID, bool) {
	base, _, _ := strings.Cut(name, ":")
	at := strings.LastIndexByte(base, 'Q')
	if at < 0 {
		return "", false
	}
	id, err := ParseID(base[at+1:])
	return id, err == nil && id.fileName() == base
}

// Derive gives the ID of the letter that is written because of something that
// happened to message id at a time: the same one each time, so that a crash does
// not make it twice. Its second is that of the time; 40 bits of a hash keep it
// apart from all others.
func (id ID) Derive(at time.Time, what string) ID {
	sum := sha256.Sum256([]byte(string(id) + " " + what))
	usec := binary.BigEndian.Uint32(sum[:4]) % 1e6
	return makeID(at.Unix()*1e6+int64(usec), binary.BigEndian.Uint32(sum[4:8]))
}
