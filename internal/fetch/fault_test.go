package fetch

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"postbag/internal/durable"
	"postbag/internal/mailtest"
)

// Whatever fails on the disk, the run after it, with a disk that is well again,
// brings what is missing and nothing twice.
func TestAFaultOfTheDiskLosesAndDoublesNothing(t *testing.T) {
	for _, kind := range []string{"maildir", "mbox"} {
		t.Run(kind, func(t *testing.T) {
			s := crashServer(t, crashLetters)
			run := func(fs *durable.FS, root string) error {
				_, err := crashJob(t, fs, root, kind, s.port).Run(context.Background())
				return err
			}
			mailtest.Faults(t, mailtest.FaultScenario{
				Setup: func(*durable.FS, string) {},
				Run:   run,
				Check: func(root string, ended error) error {
					if err := run(durable.New(), root); err != nil {
						return err
					}
					all, err := arrived(kind, root)
					for i := range crashLetters {
						if n := strings.Count(all, fmt.Sprintf("\nletter %d\n", i)); n != 1 && err == nil {
							err = fmt.Errorf("letter %d is there %d times", i, n)
						}
					}
					return err
				},
			})
		})
	}
}
