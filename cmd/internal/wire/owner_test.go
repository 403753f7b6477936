package wire

import (
	"testing"

	"postbag/internal/auth"
	"postbag/internal/durable"
)

func TestInWhoseNameAMailboxIsLookedAt(t *testing.T) {
	var self durable.Owner
	for _, tt := range []struct {
		name          string
		uid, gid, own int
		want          durable.Owner
		refused       bool
	}{
		{"no uid: the daemon's", -1, -1, 1000, self, false},
		{"no uid: the daemon's, of root, too", -1, -1, 0, self, false},
		{"the daemon's uid", 1000, 1000, 1000, self, false},
		{"another uid", 1500, 1500, 1000, self, true},
		{"another uid for root", 1500, 1501, 0, durable.Owner{UID: 1500, GID: 1501}, false},
		{"uid 0 for root", 0, 0, 0, self, true},
		{"uid 0 for others", 0, 0, 1000, self, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := owner(auth.Account{Name: "ann", UID: tt.uid, GID: tt.gid}, tt.own)
			if got != tt.want || (err != nil) != tt.refused {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}
