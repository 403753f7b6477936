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

// What is asked for at once comes in that order, too, also when it is not one letter
// after the other and when the client leaves in the middle.
func TestManyLettersAtOnce(t *testing.T) {
	const n = 100
	var letters []string
	for i := range n {
		letters = append(letters, fmt.Sprintf("Subject: letter %02d\n\nx\n", i+1))
	}
	f := newFixture(t, letters...)
	f.server.Preauth = &auth.Account{Name: "ann"}
	var asked, told strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&asked, `RETR %d\r\n`, i)
		fmt.Fprintf(&told, "S: \\+OK .*\nS: Subject: letter %02d\nS:\nS: x\nS: \\.\n", i)
		if i == 50 {
			asked.WriteString(`DELE 55\r\nRETR 3\r\nRETR 1000\r\n`)
			told.WriteString("S: \\+OK .*\nS: \\+OK .*\nS: Subject: letter 03\nS:\nS: x\nS: \\.\nS: -ERR no such letter\n")
		}
		if i == 54 {
			asked.WriteString(`RETR 55\r\n`)
			told.WriteString("S: -ERR no such letter\n")
			i++
		}
	}
	f.play(t, &pipeConn{}, "S: \\+OK logged in, 100 letters .*\nC: "+asked.String()+"NOOP\n"+told.String()+"S: \\+OK\nC: RSET\nS: \\+OK\nC: QUIT\nS: \\+OK bye, 0 .*")
}
