package mailbox

import (
	"slices"
	"sort"
)

// A vector is the list of letters that the next version will have. It shares
// chunks with the versions already published and copies one before the first
// change to it.
type vector struct {
	chunks [][]row
	own    []bool // the chunk is in no published version
	length int
	spare  []row // room for chunks to come
}

// room is told that about n rows will be added.
func (v *vector) room(n int) { v.spare = make([]row, (n+chunkRows-1)/chunkRows*chunkRows) }

func (v *vector) chunk() []row {
	if len(v.spare) < chunkRows {
		return make([]row, 0, chunkRows)
	}
	c := v.spare[:0:chunkRows]
	v.spare = v.spare[chunkRows:]
	return c
}

func (v *vector) add(r row) {
	n := len(v.chunks)
	if n == 0 || len(v.chunks[n-1]) >= chunkRows {
		v.chunks = append(v.chunks, v.chunk())
		v.own = append(v.own, true)
		n++
	}
	// Published versions never look beyond their own length of a chunk.
	v.chunks[n-1] = append(v.chunks[n-1], r)
	v.length++
}

func (v *vector) chunkOf(uid uint32) int {
	return sort.Search(len(v.chunks), func(c int) bool { return v.chunks[c][0].uid > uid }) - 1
}

// find gives the row of a UID to look at; nil when there is none.
func (v *vector) find(uid uint32) *row {
	c := v.chunkOf(uid)
	if c < 0 {
		return nil
	}
	if i, ok := searchRows(v.chunks[c], uid); ok {
		return &v.chunks[c][i]
	}
	return nil
}

// edit gives the row of a UID to change.
func (v *vector) edit(uid uint32) *row {
	c := v.chunkOf(uid)
	if c < 0 {
		return nil
	}
	i, ok := searchRows(v.chunks[c], uid)
	if !ok {
		return nil
	}
	return &v.owned(c)[i]
}

func (v *vector) owned(c int) []row {
	if !v.own[c] {
		fresh := make([]row, len(v.chunks[c]), chunkRows)
		copy(fresh, v.chunks[c])
		v.chunks[c], v.own[c] = fresh, true
	}
	return v.chunks[c]
}

// editRuns calls f for each row whose UID is in runs.
func (v *vector) editRuns(runs []Range, f func(*row)) {
	for _, r := range runs {
		for c := max(v.chunkOf(r.First), 0); c < len(v.chunks) && v.chunks[c][0].uid <= r.Last; c++ {
			i, _ := searchRows(v.chunks[c], r.First)
			if i == len(v.chunks[c]) || v.chunks[c][i].uid > r.Last {
				continue
			}
			rows := v.owned(c)
			for ; i < len(rows) && rows[i].uid <= r.Last; i++ {
				f(&rows[i])
			}
		}
	}
}

// remove takes the rows of runs out, after f has seen each.
func (v *vector) remove(runs []Range, f func(*row)) {
	for _, r := range runs {
		for c := max(v.chunkOf(r.First), 0); c < len(v.chunks) && v.chunks[c][0].uid <= r.Last; c++ {
			from, _ := searchRows(v.chunks[c], r.First)
			to := from
			for ; to < len(v.chunks[c]) && v.chunks[c][to].uid <= r.Last; to++ {
				f(&v.chunks[c][to])
			}
			if from == to {
				continue
			}
			v.chunks[c] = slices.Delete(v.owned(c), from, to)
			v.length -= to - from
			if len(v.chunks[c]) == 0 {
				v.chunks = slices.Delete(v.chunks, c, c+1)
				v.own = slices.Delete(v.own, c, c+1)
				c--
			}
		}
	}
}

// freeze gives the chunks to a version: from now on they are shared.
func (v *vector) freeze() (chunks [][]row, starts []int) {
	clear(v.own)
	starts = make([]int, len(v.chunks))
	n := 0
	for i, c := range v.chunks {
		starts[i] = n
		n += len(c)
	}
	return slices.Clone(v.chunks), starts
}
