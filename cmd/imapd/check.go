package main

import (
	"context"
	"errors"
	"fmt"

	"postbag/cmd/internal/wire"
	"postbag/internal/account"
	"postbag/internal/config"
	"postbag/internal/durable"
	"postbag/internal/mailbox"
	"postbag/internal/status"
)

const verbs = `
  check MAILDIR               look at logs, snapshots and files of a Maildir and its
                              folders, print a line for each fault: 0 none, 65 some
  check MAILDIR --repair      mend what can be mended, then look
`

// check is `imapd check`.
func check(ctx context.Context, v *config.Values) error {
	if len(v.Operands) != 2 {
		return status.Exit(status.ExUsage, "usage", errors.New("check takes one Maildir; see --help"))
	}
	store := mailbox.NewStore(durable.New(), mailbox.Options{Hostname: v.String("hostname"), NoWatch: true})
	defer store.Close()
	who, err := wire.OwnerOf(v.Operands[1])
	if err != nil {
		return err
	}
	faults := 0
	err = account.Check(ctx, store.As(who), v.Operands[1], v.Bool("repair"), func(folder string, f mailbox.Finding) {
		word := "note"
		if f.Fault {
			word = "fault"
			faults++
		}
		fmt.Fprintf(v.Stdout, "%s: %s: %s\n", folder, word, f.Text)
	})
	if errors.Is(err, account.ErrNoFolder) {
		return status.Exit(status.ExNoInput, v.Operands[1], errors.New("no Maildir"))
	}
	if err == nil && faults > 0 {
		return config.Silent(status.ExDataErr)
	}
	return err
}
