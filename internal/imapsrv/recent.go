package imapsrv

import (
	"context"
	"math"

	"postbag/internal/mailbox"
)

// recents are the letters that are \Recent in one session: those that it was the
// first to be told of, and in no other session that may change the folder (RFC
// 3501 section 2.3.2).
type recents []mailbox.Range

func (r recents) has(uid uint32) bool {
	for _, part := range r {
		if uid >= part.First && uid <= part.Last {
			return true
		}
	}
	return false
}

// count is how many letters of a version are among them.
func (r recents) count(v *mailbox.View) (n int) {
	for _, part := range r {
		first, _ := v.Index(part.First)
		last, there := v.Index(part.Last)
		n += last - first
		if there {
			n++
		}
	}
	return n
}

// claimRecent takes what is new in the session's version. EXAMINE takes nothing
// away from others (RFC 3501 section 6.3.2): it shows what is still to be claimed.
func (sel *selected) claimRecent(ctx context.Context) {
	if sel.readOnly {
		if sel.recent == nil {
			sel.recent = recents{{First: sel.folder.RecentAbove() + 1, Last: math.MaxUint32}}
		}
		return
	}
	part, err := sel.folder.ClaimRecent(ctx, sel.view)
	if err != nil { // who cannot know says that it is recent
		part = mailbox.Range{First: sel.folder.RecentAbove() + 1, Last: sel.view.UIDNext() - 1}
	}
	if part.Last == 0 || part.Last < part.First {
		return
	}
	if n := len(sel.recent); n > 0 && sel.recent[n-1].Last+1 == part.First {
		sel.recent[n-1].Last = part.Last
		return
	}
	sel.recent = append(sel.recent, part)
}
