package imapsrv

import (
	"errors"
	"io"
	"iter"
)

// An inflater undoes DEFLATE (RFC 1951) as IMAP needs it (RFC 4978): all that can
// be known from what has been read is given before more is waited for, however the
// peer flushes. The one of the standard library waits for the next block after a
// partial flush.
type inflater struct {
	next   func() ([]byte, bool)
	stop   func()
	rest   []byte
	hungry bool // it can give no more before it has read
	err    error
}

const (
	windowSize = 32 << 10
	maxBits    = 15
)

var errDeflate = errors.New("compressed data is damaged")

func newInflater(r io.Reader) *inflater {
	f := &inflater{}
	d := &deflated{r: r, buf: make([]byte, 4096)}
	f.next, f.stop = iter.Pull(func(yield func([]byte) bool) {
		d.yield = yield
		f.err = d.run()
	})
	return f
}

func (f *inflater) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		if err := f.step(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// step decodes what is there. A hungry one reads once before, which waits.
func (f *inflater) step() error {
	var ok bool
	if f.rest, ok = f.next(); !ok {
		if f.err == nil {
			f.err = io.EOF
		}
		return f.err
	}
	f.hungry = len(f.rest) == 0
	return nil
}

// deflated is compressed data that is being read.
type deflated struct {
	r        io.Reader
	buf      []byte
	pos, end int
	bits     uint32
	nbits    uint

	window [windowSize]byte
	at     int // where the next octet goes
	from   int // the first that was not given yet
	filled bool
	yield  func([]byte) bool
}

// errStopped ends the decoder when nobody reads any more.
var errStopped = errors.New("stopped")

// give hands out what is there.
func (d *deflated) give() error {
	if d.at == d.from {
		return nil
	}
	ok := d.yield(d.window[d.from:d.at])
	if d.from = d.at; d.at == windowSize {
		d.at, d.from, d.filled = 0, 0, true
	}
	if !ok {
		return errStopped
	}
	return nil
}

func (d *deflated) put(c byte) error {
	d.window[d.at] = c
	if d.at++; d.at == windowSize {
		return d.give()
	}
	return nil
}

func (d *deflated) octet() (byte, error) {
	if d.pos == d.end {
		if err := d.give(); err != nil {
			return 0, err
		}
		if !d.yield(nil) { // hungry
			return 0, errStopped
		}
		n, err := d.r.Read(d.buf)
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return 0, err
		}
		d.pos, d.end = 0, n
	}
	d.pos++
	return d.buf[d.pos-1], nil
}

// take takes n bits, the lowest first.
func (d *deflated) take(n uint) (int, error) {
	for d.nbits < n {
		c, err := d.octet()
		if err != nil {
			return 0, err
		}
		d.bits |= uint32(c) << d.nbits
		d.nbits += 8
	}
	v := d.bits & (1<<n - 1)
	d.bits >>= n
	d.nbits -= n
	return int(v), nil
}

// run reads blocks up to the last one.
func (d *deflated) run() error {
	for {
		last, err := d.take(1)
		if err != nil {
			return err
		}
		kind, err := d.take(2)
		if err != nil {
			return err
		}
		switch kind {
		case 0:
			err = d.storedBlock()
		case 1:
			err = d.block(fixedLiterals, fixedDistances)
		case 2:
			var literals, distances *huffman
			if literals, distances, err = d.readCodes(); err == nil {
				err = d.block(literals, distances)
			}
		default:
			err = errDeflate
		}
		if err == nil && last == 1 {
			if err = d.give(); err == nil {
				err = io.EOF
			}
		}
		if err != nil {
			return err
		}
	}
}

func (d *deflated) storedBlock() error {
	d.bits, d.nbits = 0, 0 // to the next octet
	var head [4]int
	for i := range head {
		c, err := d.octet()
		if err != nil {
			return err
		}
		head[i] = int(c)
	}
	size := head[0] | head[1]<<8
	if size^0xffff != head[2]|head[3]<<8 {
		return errDeflate
	}
	for range size {
		c, err := d.octet()
		if err == nil {
			err = d.put(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A huffman is a code: how many symbols there are of each length, and the symbols
// in the order of their codes.
type huffman struct {
	count   [maxBits + 1]int
	symbols []int
}

// newHuffman makes a code from the lengths of its symbols (RFC 1951 section
// 3.2.2).
func newHuffman(lengths []int) (*huffman, error) {
	h := &huffman{symbols: make([]int, len(lengths))}
	for _, n := range lengths {
		h.count[n]++
	}
	left := 1
	var next [maxBits + 2]int
	for n := 1; n <= maxBits; n++ {
		if left = left<<1 - h.count[n]; left < 0 {
			return nil, errDeflate
		}
		next[n+1] = next[n] + h.count[n]
	}
	for symbol, n := range lengths {
		if n > 0 {
			h.symbols[next[n]] = symbol
			next[n]++
		}
	}
	h.count[0] = 0
	return h, nil
}

// symbol reads one symbol.
func (d *deflated) symbol(h *huffman) (int, error) {
	code, first, index := 0, 0, 0
	for n := 1; n <= maxBits; n++ {
		bit, err := d.take(1)
		if err != nil {
			return 0, err
		}
		code |= bit
		if code-first < h.count[n] {
			return h.symbols[index+code-first], nil
		}
		index += h.count[n]
		first = (first + h.count[n]) << 1
		code <<= 1
	}
	return 0, errDeflate
}

var (
	lengthBase   = [...]int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra  = [...]uint{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase = [...]int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
		4097, 6145, 8193, 12289, 16385, 24577}
	distanceExtra = [...]uint{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}

	fixedLiterals, fixedDistances = fixedCodes()
)

// fixedCodes are those of RFC 1951 section 3.2.6.
func fixedCodes() (literals, distances *huffman) {
	var n [288]int
	for i := range n {
		switch {
		case i < 144, i >= 280:
			n[i] = 8
		case i < 256:
			n[i] = 9
		default:
			n[i] = 7
		}
	}
	literals, _ = newHuffman(n[:]) // they are right
	five := make([]int, 30)
	for i := range five {
		five[i] = 5
	}
	distances, _ = newHuffman(five)
	return literals, distances
}

// block reads symbols up to the end of a block.
func (d *deflated) block(literals, distances *huffman) error {
	for {
		symbol, err := d.symbol(literals)
		switch {
		case err != nil:
			return err
		case symbol == 256:
			return nil
		case symbol < 256:
			err = d.put(byte(symbol))
		default:
			err = d.repeat(symbol-257, distances)
		}
		if err != nil {
			return err
		}
	}
}

// repeat copies what was there before.
func (d *deflated) repeat(symbol int, distances *huffman) error {
	if symbol >= len(lengthBase) {
		return errDeflate
	}
	more, err := d.take(lengthExtra[symbol])
	if err != nil {
		return err
	}
	length := lengthBase[symbol] + more
	if symbol, err = d.symbol(distances); err != nil {
		return err
	}
	if symbol >= len(distanceBase) {
		return errDeflate
	}
	if more, err = d.take(distanceExtra[symbol]); err != nil {
		return err
	}
	distance := distanceBase[symbol] + more
	if distance > d.at && !d.filled {
		return errDeflate
	}
	for range length {
		if err := d.put(d.window[(d.at-distance+windowSize)%windowSize]); err != nil {
			return err
		}
	}
	return nil
}

// codeOrder is the order of the lengths of codes for lengths (RFC 1951 section
// 3.2.7).
var codeOrder = [...]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes reads the codes of a block with its own.
func (d *deflated) readCodes() (literals, distances *huffman, err error) {
	var sizes [3]int
	for i, n := range []uint{5, 5, 4} {
		if sizes[i], err = d.take(n); err != nil {
			return nil, nil, err
		}
	}
	nlit, ndist, ncode := sizes[0]+257, sizes[1]+1, sizes[2]+4
	if nlit > 286 || ndist > 30 {
		return nil, nil, errDeflate
	}
	var lengths [19]int
	for _, at := range codeOrder[:ncode] {
		if lengths[at], err = d.take(3); err != nil {
			return nil, nil, err
		}
	}
	code, err := newHuffman(lengths[:])
	if err != nil {
		return nil, nil, err
	}
	all, err := d.readLengths(code, nlit+ndist)
	if err != nil {
		return nil, nil, err
	}
	if literals, err = newHuffman(all[:nlit]); err != nil {
		return nil, nil, err
	}
	distances, err = newHuffman(all[nlit:])
	return literals, distances, err
}

func (d *deflated) readLengths(code *huffman, n int) (all []int, err error) {
	for len(all) < n {
		symbol, err := d.symbol(code)
		if err != nil {
			return nil, err
		}
		length, base, extra := 0, 3, uint(0)
		switch symbol {
		case 16:
			if len(all) == 0 {
				return nil, errDeflate
			}
			length, extra = all[len(all)-1], 2
		case 17:
			extra = 3
		case 18:
			base, extra = 11, 7
		default:
			all = append(all, symbol)
			continue
		}
		more, err := d.take(extra)
		if err != nil || len(all)+base+more > n {
			return nil, errors.Join(err, errDeflate)
		}
		for range base + more {
			all = append(all, length)
		}
	}
	return all, nil
}
