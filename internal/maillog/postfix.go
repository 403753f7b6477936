package maillog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A postfix Handler writes lines as Postfix does, and for logins to mailboxes as
// Dovecot does, for the programs that read these: pflogsumm, fail2ban, monitors.
// An event may be several lines.
type postfix struct {
	mu   *sync.Mutex
	w    io.Writer
	form Form
	min  slog.Level
	kept []slog.Attr // of WithAttrs
}

func newPostfix(w io.Writer, f Form, min slog.Level) *postfix {
	return &postfix{mu: new(sync.Mutex), w: w, form: f, min: min}
}

// Enabled implements slog.Handler.
func (h *postfix) Enabled(_ context.Context, l slog.Level) bool { return l >= h.min }

// WithAttrs implements slog.Handler.
func (h *postfix) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.kept = append(h.kept[:len(h.kept):len(h.kept)], attrs...)
	return &more
}

// WithGroup implements slog.Handler; events have no groups.
func (h *postfix) WithGroup(string) slog.Handler { return h }

// Handle implements slog.Handler.
func (h *postfix) Handle(_ context.Context, r slog.Record) error {
	e := postfixEvent{level: r.Level, name: r.Message, program: h.form.Program, at: map[string]string{}}
	for _, a := range h.kept {
		e.add(a)
	}
	r.Attrs(e.add)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range e.lines() {
		if _, err := io.WriteString(h.w, h.prefix(r.Time)+l.service+l.text+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// prefix is what a syslogd writes before a line.
func (h *postfix) prefix(at time.Time) string {
	if h.form.Taken {
		return ""
	}
	return at.Format(time.Stamp) + " " + h.form.Hostname + " "
}

// A postfixEvent is an event on its way into lines.
type postfixEvent struct {
	level         slog.Level
	name, program string
	keys          []string
	at            map[string]string
}

// add takes one value, with control characters shown as question marks, as
// Postfix does.
func (e *postfixEvent) add(a slog.Attr) bool {
	e.keys = append(e.keys, a.Key)
	e.at[a.Key] = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, a.Value.String())
	return true
}

// A postfixLine is one line; service is "postfix/smtpd[123]: ", for instance.
type postfixLine struct{ service, text string }

// by is a line of one of Postfix's services about a letter.
func (e *postfixEvent) by(service, format string, args ...any) postfixLine {
	text := fmt.Sprintf(format, args...)
	if id := e.at["id"]; id != "" {
		text = id + ": " + text
	}
	return postfixLine{fmt.Sprintf("postfix/%s[%d]: ", service, os.Getpid()), text}
}

// client is one in Postfix's form. Its name was not looked up.
func (e *postfixEvent) client() string { return "unknown[" + host(e.at["client"]) + "]" }

// host is an address without the port.
func host(client string) string {
	if a, err := netip.ParseAddrPort(client); err == nil {
		return a.Addr().Unmap().String()
	}
	return client
}

func (e *postfixEvent) lines() []postfixLine {
	switch e.name {
	case "received":
		return []postfixLine{e.received(), e.active()}
	case "queued":
		return []postfixLine{e.active()}
	case "refused":
		return []postfixLine{e.refused()}
	case "not-taken":
		return []postfixLine{e.notTaken()}
	case "lost":
		return []postfixLine{e.by("smtpd", "lost connection after %s from %s", strings.ToUpper(e.at["where"]), e.client())}
	case "delivered", "deferred", "failed":
		return []postfixLine{e.attempt()}
	case "reported":
		return []postfixLine{e.by("bounce", "sender non-delivery notification: %s", e.at["report"])}
	case "removed":
		return []postfixLine{e.by("qmgr", "removed")}
	case "login", "login-failed", "logout":
		return []postfixLine{e.session()}
	}
	return []postfixLine{e.other()}
}

// received is how a letter came: by SMTP or from a program of this host.
func (e *postfixEvent) received() postfixLine {
	if uid := e.at["uid"]; uid != "" {
		return e.by("pickup", "uid=%s from=%s", uid, e.at["from"])
	}
	login := ""
	if e.at["login"] != "" {
		login = ", sasl_username=" + e.at["login"]
	}
	return e.by("smtpd", "client=%s%s", e.client(), login)
}

func (e *postfixEvent) active() postfixLine {
	return e.by("qmgr", "from=%s, size=%s, nrcpt=%s (queue active)", e.at["from"], e.at["size"], e.at["recipients"])
}

func (e *postfixEvent) refused() postfixLine {
	command, about := "RCPT", e.at["to"]+": Recipient"
	if e.at["to"] == "<>" {
		command, about = "MAIL", e.at["from"]+": Sender"
	}
	return e.by("smtpd", "NOQUEUE: reject: %s from %s: %s %s address rejected: %s; from=%s to=%s",
		command, e.client(), e.at["code"], about, e.at["why"], e.at["from"], e.at["to"])
}

func (e *postfixEvent) notTaken() postfixLine {
	if e.level >= slog.LevelError {
		return e.by("smtpd", "warning: not taken from %s: %s", e.client(), e.at["why"])
	}
	return e.by("smtpd", "reject: END-OF-MESSAGE from %s: %s %s", e.client(), e.at["code"], e.at["why"])
}

// attempt is what became of one recipient.
func (e *postfixEvent) attempt() postfixLine {
	result, why := map[string]string{"delivered": "sent", "deferred": "deferred", "failed": "bounced"}[e.name], e.at["why"]
	if result == "sent" {
		why = e.at["reply"]
	}
	service, relay := "smtp", e.at["where"]
	if strings.HasPrefix(relay, "/") || relay == "" {
		service, relay = "local", "local"
	}
	return e.by(service, "to=%s, relay=%s, delay=%s, dsn=%s, status=%s (%s)", e.at["to"], relay, e.delay(), e.dsn(), result, why)
}

// delay is in seconds, with two significant digits below ten.
func (e *postfixEvent) delay() string {
	d, _ := time.ParseDuration(e.at["delay"])
	if d >= 10*time.Second {
		return fmt.Sprintf("%.0f", d.Seconds())
	}
	return fmt.Sprintf("%.2g", d.Seconds())
}

// enhanced finds the code of RFC 3463 in a reply.
var enhanced = regexp.MustCompile(`^(?:\d{3}[ -])?([245]\.\d{1,3}\.\d{1,3})\b`)

func (e *postfixEvent) dsn() string {
	if e.at["status"] != "" {
		return e.at["status"]
	}
	if m := enhanced.FindStringSubmatch(e.at["reply"]); m != nil {
		return m[1]
	}
	return "2.0.0"
}

// session is a login and its end: SMTP as Postfix has it, mailboxes as Dovecot.
func (e *postfixEvent) session() postfixLine {
	proto, user := e.at["proto"], e.at["user"]
	mailbox := strings.HasPrefix(proto, "imap") || strings.HasPrefix(proto, "pop3")
	tls := ""
	if e.at["tls"] == "true" {
		tls = ", TLS"
	}
	who := fmt.Sprintf("user=<%s>, method=%s, rip=%s%s", user, e.at["method"], host(e.at["client"]), tls)
	switch {
	case mailbox && e.name == "login":
		return postfixLine{"dovecot: ", proto + "-login: Login: " + who}
	case mailbox && e.name == "login-failed":
		return postfixLine{"dovecot: ", proto + "-login: Disconnected (auth failed, 1 attempts): " + who}
	case mailbox:
		return postfixLine{"dovecot: ", fmt.Sprintf("%s(%s): Disconnected: Logged out retr=%s/%s, del=%s",
			proto, user, e.number("retrieved"), e.number("octets"), e.number("deleted"))}
	case e.name == "login-failed":
		return e.by("smtpd", "warning: %s: SASL %s authentication failed: %s, sasl_username=%s", e.client(), e.at["method"], e.at["why"], user)
	case e.name == "login":
		return e.by("smtpd", "%s: sasl_method=%s, sasl_username=%s", e.client(), e.at["method"], user)
	}
	return e.by("smtpd", "disconnect from %s", e.client())
}

func (e *postfixEvent) number(key string) string {
	if e.at[key] == "" {
		return "0"
	}
	return e.at[key]
}

// other is what Postfix has no line for.
func (e *postfixEvent) other() postfixLine {
	var b strings.Builder
	switch {
	case e.level >= slog.LevelError:
		b.WriteString("error: ")
	case e.level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	b.WriteString(e.name)
	for _, k := range e.keys {
		if k != "id" {
			fmt.Fprintf(&b, " %s=%s", k, e.at[k])
		}
	}
	return e.by(e.program, "%s", b.String())
}
