package popsrv

import (
	"fmt"
	"strings"
	"testing"

	"postbag/internal/auth"
)

// Letters are read ahead of who asks for one after the other; whatever he asks for
// next is what he gets.
func TestLettersInAnyOrder(t *testing.T) {
	const n = 30
	var letters []string
	for i := range n {
		letters = append(letters, fmt.Sprintf("Subject: letter %02d\n\nx\n", i+1))
	}
	f := newFixture(t, letters...)
	f.server.Preauth = &auth.Account{Name: "ann"}
	script := strings.Builder{}
	script.WriteString("S: \\+OK logged in, 30 letters .*\n")
	for _, i := range []int{1, 2, 3, 4, 9, 10, 11, 12, 12, 13, 14, 2, 1, 2, 3, 28, 29, 30, 1, 2} {
		fmt.Fprintf(&script, "C: RETR %d\nS: \\+OK .*\nS: Subject: letter %02d\nS:\nS: x\nS: \\.\n", i, i)
	}
	for i := 3; i <= n; i++ {
		fmt.Fprintf(&script, "C: TOP %d 0\nS: \\+OK .*\nS: Subject: letter %02d\nS:\nS: \\.\nC: DELE %d\nS: \\+OK .*\n", i, i, i)
	}
	script.WriteString("C: QUIT\nS: \\+OK bye, 28 .*\n")
	f.play(t, &pipeConn{}, script.String())
}
