package mailcache

import (
	"encoding/binary"
	"strings"
)

// Fields are header fields as the file has them: each name and value with its
// length before it. Names are as they were given, values unfolded and not
// decoded.
type Fields []byte

// Add gives the fields with one more.
func (f Fields) Add(name, value string) Fields {
	f = binary.AppendUvarint(f, uint64(len(name)))
	f = append(f, name...)
	f = binary.AppendUvarint(f, uint64(len(value)))
	return append(f, value...)
}

// Get is the value of the first field of that name, whatever its case.
func (f Fields) Get(name string) string {
	d := decoder{b: f}
	for d.more() {
		n, v := d.text(), d.text()
		if len(n) == len(name) && strings.EqualFold(string(n), name) {
			return string(v)
		}
	}
	return ""
}

// Values are those of all fields of that name, whatever its case.
func (f Fields) Values(name string) (all []string) {
	d := decoder{b: f}
	for d.more() {
		n, v := d.text(), d.text()
		if len(n) == len(name) && strings.EqualFold(string(n), name) {
			all = append(all, string(v))
		}
	}
	return all
}
