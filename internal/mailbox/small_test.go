package mailbox

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestContentIsWholeWhateverItsNameSays: names are others' work, and so is what is
// in the file.
func TestContentIsWholeWhateverItsNameSays(t *testing.T) {
	limit := strings.Repeat("x", smallLetter-3)
	for name, text := range map[string]string{
		"a small letter": "a: b\n\nc\n", "nothing": "", "line ends of both kinds": "a\nb\r\nc\r\n\n", "no end": "a\n\r", "the limit": limit + "\n\n\n",
		"less than the limit": limit + "\n\n", "more than the limit": limit + "\n\n\n\n", "large": strings.Repeat("line\n", 50_000),
	} {
		wire := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
		for _, sizes := range []string{
			"", fmt.Sprintf(",S=%d", len(text)), fmt.Sprintf(",S=%d,W=%d", len(text), len(wire)),
			fmt.Sprintf(",S=%d", len(text)+1), fmt.Sprintf(",S=%d,W=%d", len(text)/2, len(wire)),
		} {
			x := newFixture(t)
			x.write("cur/1700000000.M1P1.host"+sizes+":2,", text)
			f := x.open(x.store)
			x.must(f.Sync(x.ctx))
			c, err := f.Content(x.ctx, f.View().At(0))
			x.must(err)
			for _, again := range []string{"first", "rewound"} {
				got, err := io.ReadAll(c)
				if err != nil || string(got) != wire || c.Size() != int64(len(wire)) {
					t.Errorf("%s, name with %q, %s: %d octets, said to be %d, %v; want %d", name, sizes, again, len(got), c.Size(), err, len(wire))
				}
				x.must(c.Rewind())
			}
			if got, small := c.Text(); small != (len(text) <= smallLetter) || small && string(got) != wire {
				t.Errorf("%s, name with %q: in memory %v, %d octets", name, sizes, small, len(got))
			}
			c.Close()
		}
	}
}
