package queue

import (
	"slices"
	"strings"

	"postbag/internal/message"
	"postbag/internal/spool"
)

// expanded is the action of RFC 3464 section 2.3.3 for an address that leads to
// several: they report themselves when they fail.
const expanded = "expanded"

// succeeded is the kind of report on recipient i, who did not fail; "" is none (RFC
// 3461 sections 5.2.2, 5.2.3 and 5.2.7).
func (a *attempt) succeeded(i int) string {
	state, to := a.e.Progress.Rcpts[i], a.e.To[i]
	switch {
	case slices.Contains(owners(state), ""):
		return ""
	case wants(to, "SUCCESS") && !takenOver(state):
		if action(state) == message.Relayed {
			return message.Relayed
		}
		return message.Delivered
	case relayed(to, state):
		return message.Relayed
	}
	return ""
}

// action tells what has become of a recipient who did not fail. A list is where the
// way of a letter ends: what it sends is its own.
func action(state spool.State) string {
	own := ownDests(state)
	switch {
	case len(own) > 1:
		return expanded
	case len(own) == 1 && own[0].Host != "" && !strings.HasPrefix(own[0].Via, "lmtp:"): // LMTP's 250 is delivery
		return message.Relayed
	}
	return message.Delivered
}

// takenOver reports whether another host will tell of the delivery: the only one that
// has the letter, and was asked to.
func takenOver(state spool.State) bool {
	own := ownDests(state)
	return len(state.Dests) == 0 || len(own) == 1 && own[0].Took
}

// ownDests are the last words of the destinations that are no members of a list.
func ownDests(state spool.State) (own []spool.Event) {
	for name, e := range state.Dests {
		if name != "" && e.Owner == "" {
			own = append(own, e)
		}
	}
	return own
}

// tellSuccess tells of a recipient who did not fail. Where an alias or a list has
// sent the letter is not for the sender.
func tellSuccess(r *message.ReportRecipient, state spool.State) {
	r.Action = action(state)
	if r.Action == message.Relayed || len(ownDests(state)) == 1 {
		return
	}
	r.Status, r.RemoteMTA, r.Diagnostic = "2.0.0", "", "delivered to the list"
	if r.Action == expanded {
		r.Diagnostic = "sent to the addresses that it stands for"
	}
}

// quietly takes SUCCESS out of what hosts behind an alias of several addresses are
// asked to report: they would each tell of it (RFC 3461 section 5.2.7.3).
func quietly(notify string) string {
	if notify == "" {
		return ""
	}
	words := slices.DeleteFunc(strings.Split(notify, ","), func(word string) bool {
		return strings.EqualFold(strings.TrimSpace(word), "SUCCESS")
	})
	if len(words) == 0 {
		return "NEVER"
	}
	return strings.Join(words, ",")
}
