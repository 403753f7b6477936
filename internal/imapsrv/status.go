package imapsrv

import (
	"fmt"
	"slices"
	"strings"

	"postbag/internal/mailbox"
)

// statusNames are the items of STATUS.
var statusNames = []string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "DELETED-STORAGE", "SIZE", "HIGHESTMODSEQ", "MAILBOXID", "APPENDLIMIT"}

func (s *session) statusItems() ([]string, error) {
	var items []string
	err := s.in.Members(func() error {
		name, err := s.in.Atom()
		if err != nil {
			return err
		}
		name = strings.ToUpper(name)
		if !slices.Contains(statusNames, name) {
			return bad("STATUS has no item " + name)
		}
		if !slices.Contains(items, name) {
			items = append(items, name)
		}
		return nil
	})
	return items, err
}

func (s *session) doStatus() (string, error) {
	name, err := s.spName()
	if err == nil {
		err = s.sp()
	}
	if err != nil {
		return "", err
	}
	items, err := s.statusItems()
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	return "done", s.statusOf(name, items)
}

// statusOf writes a STATUS response.
func (s *session) statusOf(name string, items []string) error {
	if slices.Contains(items, "HIGHESTMODSEQ") {
		s.useModSeq()
	}
	folder, err := s.tree.Open(s.ctx, name)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(s.ctx); err != nil {
		return err
	}
	return s.writeStatus(name, folder, folder.View(), items)
}

// writeStatus writes what a STATUS response says of one version of a folder.
func (s *session) writeStatus(name string, folder *mailbox.Folder, v *mailbox.View, items []string) error {
	var words []string
	for _, item := range items {
		if item == "MAILBOXID" {
			words = append(words, "MAILBOXID ("+v.MailboxID()+")")
			continue
		}
		n, err := s.statusNumber(folder, v, item)
		if err != nil {
			return err
		}
		words = append(words, fmt.Sprintf("%s %d", item, n))
	}
	s.line("* STATUS " + s.encodeName(s.tree.Canonical(name)) + " (" + strings.Join(words, " ") + ")")
	return nil
}

func (s *session) statusNumber(f *mailbox.Folder, v *mailbox.View, item string) (int64, error) {
	switch item {
	case "MESSAGES":
		return int64(v.Len()), nil
	case "RECENT":
		i, _ := v.Index(f.RecentAbove() + 1)
		return int64(v.Len() - i), nil
	case "UIDNEXT":
		return int64(v.UIDNext()), nil
	case "UIDVALIDITY":
		return int64(v.UIDValidity()), nil
	case "UNSEEN":
		return int64(v.Unseen()), nil
	case "HIGHESTMODSEQ":
		return int64(v.HighestModSeq()), nil
	case "APPENDLIMIT":
		return s.maxSize(), nil
	case "DELETED":
		return int64(v.Count(mailbox.Deleted, mailbox.Deleted)), nil
	}
	// What an expunge would free is the octets of the letters on the wire, as RFC 9208
	// section 4.1.4 allows.
	var total int64
	for i := range v.Len() {
		if item == "DELETED-STORAGE" && v.At(i).Flags&mailbox.Deleted == 0 {
			continue
		}
		size, err := f.Size(s.ctx, v.At(i))
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}
