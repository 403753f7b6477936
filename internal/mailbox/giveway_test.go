package mailbox

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPayingGivesWayToChanges(t *testing.T) {
	for _, tt := range []struct {
		name    string
		changes int // one each 10 ms
		waits   time.Duration
	}{
		{"of which none comes any more", 0, payQuiet},
		{"until they end", 5, 50*time.Millisecond + payQuiet},
		{"but not for ever", 100, payYield},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &box{}
				change := func() { b.changed.Store(time.Now().UnixNano()) }
				change()
				var changes sync.WaitGroup
				defer changes.Wait()
				changes.Go(func() {
					for range tt.changes {
						time.Sleep(10 * time.Millisecond)
						change()
					}
				})
				start := time.Now()
				b.giveWay(t.Context())
				if took := time.Since(start); took != tt.waits {
					t.Errorf("waited %s, want %s", took, tt.waits)
				}
			})
		})
	}
}

func TestPayingWaitsForNobodyWhoIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{}
		b.changed.Store(time.Now().Add(-payQuiet).UnixNano())
		start := time.Now()
		b.giveWay(t.Context())
		if took := time.Since(start); took != 0 {
			t.Errorf("waited %s", took)
		}
	})
}
