package spool

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postbag/internal/address"
)

// An Envelope is what a message needs besides its text: where it comes from and
// where it shall go. It does not change once the message is queued.
type Envelope struct {
	ID      ID
	From    address.Address // reverse-path; zero is the null one
	To      []Recipient
	Arrived time.Time

	Body     string // "7BIT" or "8BITMIME" as declared; "" is not declared
	SMTPUTF8 bool   // declared by the sender, RFC 6531
	Ret      string // RFC 3461: "FULL", "HDRS" or ""
	EnvID    string // RFC 3461, decoded

	NotBefore  time.Time // RFC 4865: no attempt before it; zero: at once
	Release    string    // how that was asked for: "for;SECONDS" or "until;TIME"
	RequireTLS bool      // RFC 8689: never in the clear, nor to a host that does not promise the same
	Priority   int       // RFC 6710: -9 to 9, the higher the sooner
	By         time.Time // RFC 2852: when it shall be delivered; zero: whenever it can be
	ByMode     string    // if it is not: "R" it is returned, "N" its sender is told; with "T" he is told of relaying, too

	Proto    string // how it came: "ESMTPS", "LMTP", "local", ...
	ClientIP string
	HELO     string
	Login    string // who was authenticated
	UID      int    // the local user who submitted; -1 when none did

	Junk   bool   // goes into .Junk of Maildirs: its author's domain says that it is forged
	Hold   bool   // never attempted before it is released
	Report string // what report of ours it is: "" none, ReportBounce, ReportDouble, ReportDelay
	About  ID     // of a report: the message that it is about
}

// Begin is when a message is first due: what it waits and how long it is tried
// counts from there.
func (e *Envelope) Begin() time.Time {
	if e.NotBefore.After(e.Arrived) {
		return e.NotBefore
	}
	return e.Arrived
}

// Returned says that the letter goes back when its time has passed (RFC 2852).
func (e *Envelope) Returned() bool { return strings.HasPrefix(e.ByMode, "R") }

// Traced says that the sender wants to hear where the letter is relayed to.
func (e *Envelope) Traced() bool { return strings.HasSuffix(e.ByMode, "T") }

// Kinds of reports that we write ourselves.
const (
	ReportBounce = "bounce" // to the sender
	ReportDouble = "double" // to postmaster, of a bounce that could not be delivered
	ReportDelay  = "delay"  // to the sender, while we go on trying
)

// A Recipient is one forward-path with its parameters of RFC 3461.
type Recipient struct {
	Address address.Address
	Orig    string // ORCPT as given, "rfc822;..."
	Notify  string // "NEVER", or of "SUCCESS,FAILURE,DELAY"; "" is not given
}

// meta is an Envelope as it stands in a queue file, without the recipients,
// which have a line each. Names are short: a queue has many.
type meta struct {
	ID      ID     `json:"id"`
	From    string `json:"from"`
	Arrived int64  `json:"arrived"` // microseconds since 1970
	Body    string `json:"body,omitempty"`
	UTF8    bool   `json:"smtputf8,omitempty"`
	Ret     string `json:"ret,omitempty"`
	EnvID   string `json:"envid,omitempty"`
	TLS     bool   `json:"requiretls,omitempty"`
	After   int64  `json:"notbefore,omitempty"` // microseconds since 1970
	Release string `json:"release,omitempty"`
	Urgency int    `json:"priority,omitempty"`
	By      int64  `json:"by,omitempty"` // microseconds since 1970
	ByMode  string `json:"bymode,omitempty"`
	Proto   string `json:"proto,omitempty"`
	Client  string `json:"client,omitempty"`
	HELO    string `json:"helo,omitempty"`
	Login   string `json:"login,omitempty"`
	UID     *int   `json:"uid,omitempty"`
	Junk    bool   `json:"junk,omitempty"`
	Hold    bool   `json:"hold,omitempty"`
	Report  string `json:"report,omitempty"`
	About   ID     `json:"about,omitempty"`
	Count   int    `json:"recipients"`
}

type rcpt struct {
	To     string `json:"to"`
	Orig   string `json:"orig,omitempty"`
	Notify string `json:"notify,omitempty"`
}

// lines gives the envelope as JSON values, the first about the message, one
// more for each recipient.
func (e *Envelope) lines() ([][]byte, error) {
	m := meta{
		ID: e.ID, From: e.From.String(), Arrived: e.Arrived.UnixMicro(),
		Body: e.Body, UTF8: e.SMTPUTF8, Ret: e.Ret, EnvID: e.EnvID, TLS: e.RequireTLS, Release: e.Release, Urgency: e.Priority, ByMode: e.ByMode,
		Proto: e.Proto, Client: e.ClientIP, HELO: e.HELO, Login: e.Login,
		Junk: e.Junk, Hold: e.Hold, Report: e.Report, About: e.About, Count: len(e.To),
	}
	if e.UID >= 0 {
		m.UID = &e.UID
	}
	if !e.NotBefore.IsZero() {
		m.After = e.NotBefore.UnixMicro()
	}
	if !e.By.IsZero() {
		m.By = e.By.UnixMicro()
	}
	out := make([][]byte, 0, 1+len(e.To))
	first, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	out = append(out, first)
	for _, r := range e.To {
		line, err := json.Marshal(rcpt{r.Address.String(), r.Orig, r.Notify})
		if err != nil {
			return nil, err
		}
		out = append(out, line)
	}
	return out, nil
}

// parseEnvelope reads what lines has written.
func parseEnvelope(lines [][]byte) (*Envelope, error) {
	if len(lines) == 0 {
		return nil, fmt.Errorf("%w: no envelope", errDamaged)
	}
	var m meta
	if err := json.Unmarshal(lines[0], &m); err != nil {
		return nil, fmt.Errorf("%w: envelope: %v", errDamaged, err)
	}
	if m.Count != len(lines)-1 {
		return nil, fmt.Errorf("%w: envelope has %d recipients of %d", errDamaged, len(lines)-1, m.Count)
	}
	from, err := parseAddress(m.From)
	if err != nil {
		return nil, err
	}
	e := &Envelope{
		ID: m.ID, From: from, Arrived: time.UnixMicro(m.Arrived),
		Body: m.Body, SMTPUTF8: m.UTF8, Ret: m.Ret, EnvID: m.EnvID, RequireTLS: m.TLS, Release: m.Release, Priority: min(max(m.Urgency, -9), 9), ByMode: m.ByMode,
		Proto: m.Proto, ClientIP: m.Client, HELO: m.HELO, Login: m.Login,
		UID: -1, Junk: m.Junk, Hold: m.Hold, Report: m.Report, About: m.About,
		To: make([]Recipient, 0, len(lines)-1),
	}
	if m.UID != nil {
		e.UID = *m.UID
	}
	if m.After != 0 {
		e.NotBefore = time.UnixMicro(m.After)
	}
	if m.By != 0 {
		e.By = time.UnixMicro(m.By)
	}
	for _, line := range lines[1:] {
		r, err := parseRecipient(line)
		if err != nil {
			return nil, err
		}
		e.To = append(e.To, r)
	}
	return e, nil
}

func parseRecipient(line []byte) (Recipient, error) {
	var r rcpt
	if err := json.Unmarshal(line, &r); err != nil {
		return Recipient{}, fmt.Errorf("%w: recipient: %v", errDamaged, err)
	}
	a, err := parseAddress(r.To)
	if err == nil && a.IsNull() {
		err = fmt.Errorf("%w: recipient without address", errDamaged)
	}
	return Recipient{Address: a, Orig: r.Orig, Notify: r.Notify}, err
}

// parseAddress also takes what has no domain, as local submissions may.
func parseAddress(s string) (address.Address, error) {
	if s == "" {
		return address.Address{}, nil
	}
	a, err := address.ParseUnqualified(s)
	if err != nil {
		return a, fmt.Errorf("%w: address: %v", errDamaged, err)
	}
	return a, nil
}
