package imapsrv

import (
	"slices"
	"strings"

	"postbag/internal/account"
)

// events are kinds of what can happen (RFC 5465 section 5).
type events uint

const (
	messageNew events = 1 << iota
	messageExpunge
	flagsChange
	mailboxName
	subscriptionChange
	mailboxMetadata
	serverMetadata

	messageEvents = messageNew | messageExpunge | flagsChange
)

// eventNames are the events that can be told of, in the order of their bits.
var eventNames = []string{
	"MessageNew", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange", "MailboxMetadataChange", "ServerMetadataChange",
}

// An eventGroup is which events of which folders a client wants to hear of.
type eventGroup struct {
	filter
	events
	items []item // of new letters in the selected folder
}

// A notification is what NOTIFY SET asks for.
type notification struct {
	status   bool       // how things stand is told at once
	selected eventGroup // of the selected folder
	others   []eventGroup
	unknown  bool // events that nobody can tell of are among it
}

// doNotify is NOTIFY (RFC 5465 section 3.1).
func (s *session) doNotify() (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	word, err := s.in.Atom()
	if err != nil {
		return "", err
	}
	n := &notification{}
	switch strings.ToUpper(word) {
	case "NONE":
	case "SET":
		err = s.readNotification(n)
	default:
		err = bad("NOTIFY SET or NOTIFY NONE")
	}
	if err == nil {
		err = s.crlf()
	}
	if err == nil && n.unknown {
		err = no("[BADEVENT (" + strings.Join(eventNames, " ") + ")] only those can be told of")
	}
	if err != nil {
		return "", err
	}
	return "done", s.beginWatch(n)
}

// readNotification reads what follows SET.
func (s *session) readNotification(n *notification) error {
	if err := s.sp(); err != nil {
		return err
	}
	word, err := s.optionalWord("STATUS")
	if n.status = word != ""; err == nil && n.status {
		err = s.sp()
	}
	for err == nil {
		if err = s.readEventGroup(n); err == nil && !s.in.Accept(' ') {
			break
		}
	}
	return err
}

func (s *session) readEventGroup(n *notification) error {
	var g eventGroup
	err := s.in.Expect('(')
	if err == nil {
		g.filter, err = s.readFilter()
	}
	if err == nil {
		err = s.sp()
	}
	if err == nil {
		err = s.readEvents(n, &g)
	}
	if err == nil {
		err = s.in.Expect(')')
	}
	if err == nil {
		err = n.add(g)
	}
	return err
}

// readEvents reads NONE or a list of events.
func (s *session) readEvents(n *notification, g *eventGroup) error {
	if c, err := s.in.Peek(); err == nil && c == '(' {
		return s.in.List(func() error { return s.readEvent(n, g) })
	}
	word, err := s.in.Atom()
	if err == nil && !strings.EqualFold(word, "NONE") {
		err = bad("a list of events, or NONE, is expected")
	}
	return err
}

func (s *session) readEvent(n *notification, g *eventGroup) error {
	word, err := s.in.Atom()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(eventNames, func(name string) bool { return strings.EqualFold(name, word) })
	if i < 0 {
		n.unknown = true
		return nil
	}
	event := events(1) << i
	g.events |= event
	if event == messageNew {
		g.items, err = s.newItems()
	}
	return err
}

// newItems reads a list of items of FETCH, if there is one.
func (s *session) newItems() (items []item, err error) {
	ok, err := s.in.AcceptAll(" (")
	for ok && err == nil {
		var it item
		if it, err = s.listedItem(); err != nil {
			break
		}
		if items = append(items, it); s.in.Accept(')') {
			break
		}
		err = s.sp()
	}
	return items, err
}

// add takes a group, if it makes sense.
func (n *notification) add(g eventGroup) error {
	both, one := messageNew|messageExpunge, g.events&(messageNew|messageExpunge)
	switch {
	case one != 0 && one != both, g.events&flagsChange != 0 && one != both:
		return bad("MessageNew and MessageExpunge go together, FlagChange goes with them") // section 5
	case g.kind == "SUBTREE-ONE":
		return bad("NOTIFY has no SUBTREE-ONE")
	case !g.ofSelected() && g.items != nil:
		return bad("items are told of the selected folder only") // section 8
	case g.ofSelected() && g.events&^messageEvents != 0:
		return bad("the selected folder has message events only") // section 6.1
	case g.ofSelected() && n.selected.kind != "":
		return bad("the selected folder is named twice")
	case g.ofSelected():
		n.selected = g
	default:
		n.others = append(n.others, g)
	}
	return nil
}

// of gives the events that are wanted of a folder that is not selected.
func (n *notification) of(o account.Folder, sep byte) (all events) {
	for _, g := range n.others {
		if g.has(o, sep) {
			all |= g.events
		}
	}
	return all
}
