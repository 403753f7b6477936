package smtpout

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"postbag/internal/status"
)

// endOfText names the reply to a whole letter.
const endOfText = "end of text"

// errSettled ends the sending of a letter about which all has been said.
var errSettled = errors.New("settled")

// text sends the letter to the recipients that were taken, and settles them.
// data is the reply to a DATA that has gone already. An error means that nothing
// was decided.
func (t *transaction) text(data reply) error {
	err := t.send(data)
	if errors.Is(err, errSettled) {
		return nil
	}
	return err
}

func (t *transaction) send(data reply) error {
	body, err := t.letter.reader()
	if err != nil {
		t.broken = true
		return err
	}
	defer body.Close()
	if t.offers("CHUNKING") {
		return t.chunks(body)
	}
	if data.code == 0 {
		if data, err = t.command("DATA", t.t.Data); err != nil {
			return err
		}
	}
	if data.code != 354 {
		return t.refuseAll("DATA", data)
	}
	return t.data(body)
}

// data sends the letter after the 354.
func (t *transaction) data(body io.Reader) error {
	t.texted = true
	enc := encoder{stuff: true}
	if err := t.copyBody(&enc, body); err != nil {
		return err
	}
	t.out = append(enc.end(t.out), ".\r\n"...)
	if err := t.flush(t.t.Block); err != nil {
		return t.cut(err) // the dot has not gone: nothing was taken
	}
	return t.ending()
}

// refuseAll settles the recipients that had been taken by one reply.
func (t *transaction) refuseAll(verb string, r reply) error {
	err := t.refused(verb, r)
	if status.ClassOf(err) == status.Temporary && len(t.taken) == len(t.mail.Rcpts) {
		return err // the next host may take it
	}
	t.settle(t.taken, r, err)
	return nil
}

// cut is for a connection that broke while the letter was on its way. A host that
// has had enough of it often says so before it closes.
func (t *transaction) cut(err error) error {
	t.nc.SetReadDeadline(time.Now().Add(time.Second))
	r, rerr := readReply(t.br)
	t.broken = true
	if rerr == nil && r.code/100 == 5 {
		t.settle(t.taken, r, t.refused(endOfText, r))
		return errSettled
	}
	return t.lost("text", err)
}

const blockSize = 64 << 10

// copyBody sends all of the letter, in blocks. When its source fails, the
// connection is closed before the host can take it for whole.
func (t *transaction) copyBody(enc *encoder, body io.Reader) error {
	if text := t.letter.text; text != nil {
		t.out = slices.Grow(t.out, int(t.letter.wire)+lookSize) // more, if many lines begin with a dot
		for block := range slices.Chunk(text, lookSize) {
			t.out = enc.append(t.out, block)
		}
		return nil
	}
	buf := make([]byte, blockSize)
	for {
		n, err := body.Read(buf)
		t.out = enc.append(t.out, buf[:n])
		if len(t.out) >= blockSize {
			if werr := t.flush(t.t.Block); werr != nil {
				return t.cut(werr)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return t.abort(err)
		}
	}
}

// abort closes the connection in the middle of a letter that cannot be read.
func (t *transaction) abort(err error) error {
	t.broken = true
	t.close()
	return unreadable(err)
}

// ending reads the reply to the end of the letter; in LMTP one for each
// recipient that was taken, in order (RFC 2033 section 4.2).
func (t *transaction) ending() error {
	groups := [][]int{t.taken}
	if t.hop.LMTP {
		groups = nil
		for _, i := range t.taken {
			groups = append(groups, []int{i})
		}
	}
	for k, which := range groups {
		r, err := t.endReply()
		if err != nil {
			for _, rest := range groups[k:] {
				t.settle(rest, reply{}, err)
			}
			return nil
		}
		t.begun = false // RFC 5321 section 4.1.1.4: whatever the reply
		if r.ok() {
			t.settle(which, r, nil)
		} else {
			t.settle(which, r, t.refused(endOfText, r))
		}
	}
	return nil
}

// endReply reads one of them. Whatever fails here leaves open whether the letter
// was taken, so it is a result of the recipients and no reason to try another
// host at once.
func (t *transaction) endReply() (reply, error) {
	t.nc.SetReadDeadline(time.Now().Add(t.t.End))
	r, err := readReply(t.br)
	if err != nil {
		return r, t.lost(endOfText+", the letter may be sent twice", err)
	}
	if r.code == 421 {
		t.broken = true
	}
	return r, nil
}

// chunkSize is what goes in one BDAT. Ordinary letters need one.
const chunkSize = 1 << 20

// chunks sends the letter by BDAT (RFC 3030): no stuffing, and its end is known
// by its length. Each chunk but the last is answered before the next goes, so
// that a refusal costs one chunk.
func (t *transaction) chunks(body io.Reader) error {
	t.texted = true
	enc := encoder{}
	if text := t.letter.text; text != nil {
		return t.lastChunk(enc.end(enc.append(nil, text)))
	}
	buf := make([]byte, blockSize)
	var chunk []byte
	for {
		n, err := body.Read(buf)
		chunk = enc.append(chunk, buf[:n])
		switch {
		case errors.Is(err, io.EOF):
			return t.lastChunk(enc.end(chunk))
		case err != nil:
			return t.abort(err)
		case len(chunk) >= chunkSize:
			if done, err := t.chunk(chunk); done || err != nil {
				return err
			}
			chunk = chunk[:0]
		}
	}
}

// chunk sends one that is not the last. done means that the host wants no more.
func (t *transaction) chunk(p []byte) (done bool, err error) {
	t.queue("BDAT " + strconv.Itoa(len(p)))
	if err := t.write(p); err != nil {
		return true, err
	}
	r, err := t.read("BDAT", t.t.End)
	if err != nil {
		return true, err
	}
	if !r.ok() {
		return true, t.refuseAll("BDAT", r)
	}
	return false, nil
}

func (t *transaction) lastChunk(p []byte) error {
	t.queue(fmt.Sprintf("BDAT %d LAST", len(p)))
	if err := t.write(p); err != nil {
		return err
	}
	return t.ending()
}

// write sends what is queued and then p, each block with its own deadline.
func (t *transaction) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), blockSize)
		t.out = append(t.out, p[:n]...)
		if err := t.flush(t.t.Block); err != nil {
			return t.cut(err)
		}
		p = p[n:]
	}
	if len(t.out) > 0 {
		if err := t.flush(t.t.Block); err != nil {
			return t.cut(err)
		}
	}
	return nil
}
