package queue

import (
	"strings"
	"testing"

	"postbag/internal/address"
	"postbag/internal/spool"
)

// report takes a letter in that fails, and gives what its sender gets.
func report(t *testing.T, env spool.Envelope, text string) string {
	t.Helper()
	w := newWorld(t)
	env.From, env.Proto, env.UID = addr("ann@here.example"), "ESMTP", -1
	if env.To == nil {
		env.To = []spool.Recipient{{Address: addr("no@far.example")}}
	}
	tx, err := w.intake.Begin(t.Context(), &env)
	if err == nil {
		_, err = tx.Write([]byte(text))
	}
	if err == nil {
		_, err = tx.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	w.once()
	w.once()
	got := w.box("ann")
	if len(got) != 1 {
		t.Fatalf("%d reports", len(got))
	}
	return got[0]
}

func TestFormsOfAReport(t *testing.T) {
	plain, foreign := "Subject: x\n\ngrüße\n", "Subject: grüße\n\ntext\n"
	large := "Subject: x\n\n" + strings.Repeat("text text text\n", 4<<10)
	for _, tt := range []struct {
		name string
		env  spool.Envelope
		text string
		want []string // types of the parts
	}{
		{"a letter in ASCII, though SMTPUTF8 was declared", spool.Envelope{SMTPUTF8: true}, plain, []string{"message/delivery-status", "message/rfc822"}},
		{"one whose header goes back in UTF-8", spool.Envelope{SMTPUTF8: true}, foreign, []string{"message/global-delivery-status", "message/global"}},
		{"a recipient in UTF-8", spool.Envelope{SMTPUTF8: true, To: []spool.Recipient{{Address: address.Address{Local: "no", Domain: "bücher.example"}}}}, plain,
			[]string{"message/global-delivery-status", "message/global"}},
		{"the header only, as asked for", spool.Envelope{Ret: "HDRS"}, plain, []string{"message/delivery-status", "text/rfc822-headers"}},
		{"all of it, as asked for", spool.Envelope{Ret: "FULL"}, plain, []string{"message/delivery-status", "message/rfc822"}},
		{"of a large one the header", spool.Envelope{}, large, []string{"message/delivery-status", "text/rfc822-headers"}},
		{"also when all was asked for", spool.Envelope{Ret: "FULL"}, large, []string{"message/delivery-status", "text/rfc822-headers"}},
	} {
		got := report(t, tt.env, tt.text)
		for _, kind := range tt.want {
			if strings.Count(got, "\nContent-Type: "+kind+"\n") != 1 {
				t.Errorf("%s: no part %s in\n%.3000s", tt.name, kind, got)
			}
		}
	}
}
