package imapsrv

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"postbag/internal/imapwire"
	"postbag/internal/mailbox"
	"postbag/internal/maillog"
)

// always are the commands of every state.
var always = map[string]handler{
	"CAPABILITY": (*session).doCapability,
	"NOOP":       (*session).doNoop,
	"LOGOUT":     (*session).doLogout,
	"ID":         (*session).doID,
}

// before are those before the login.
var before = map[string]handler{
	"STARTTLS":     (*session).doStartTLS,
	"AUTHENTICATE": (*session).doAuthenticate,
	"LOGIN":        (*session).doLogin,
}

// after are those behind it.
var after = map[string]handler{
	"ENABLE":         (*session).doEnable,
	"SELECT":         func(s *session) (string, error) { return s.doSelect(false) },
	"EXAMINE":        func(s *session) (string, error) { return s.doSelect(true) },
	"CREATE":         (*session).doCreate,
	"DELETE":         (*session).doDelete,
	"RENAME":         (*session).doRename,
	"SUBSCRIBE":      (*session).doSubscribe,
	"UNSUBSCRIBE":    (*session).doUnsubscribe,
	"LIST":           (*session).doList,
	"LSUB":           (*session).doLsub,
	"NAMESPACE":      (*session).doNamespace,
	"STATUS":         (*session).doStatus,
	"APPEND":         (*session).doAppend,
	"IDLE":           (*session).doIdle,
	"NOTIFY":         (*session).doNotify,
	"ESEARCH":        (*session).doEsearch,
	"GETMETADATA":    (*session).doGetMetadata,
	"SETMETADATA":    (*session).doSetMetadata,
	"GETQUOTA":       (*session).doGetQuota,
	"GETQUOTAROOT":   (*session).doGetQuotaRoot,
	"SETQUOTA":       (*session).doSetQuota,
	"COMPRESS":       (*session).doCompress,
	"UNAUTHENTICATE": (*session).doUnauthenticate,
}

// inside are those of a selected folder. By UID stands for their UID form.
var inside = map[string]func(s *session, byUID bool) (string, error){
	"CHECK":   plain((*session).doNoop),
	"CLOSE":   plain((*session).doClose),
	"EXPUNGE": (*session).doExpunge,
	"SEARCH":  (*session).doSearch,
	"SORT":    (*session).doSort,
	"THREAD":  (*session).doThread,
	"REPLACE": (*session).doReplace,
	"FETCH":   (*session).doFetch,
	"STORE":   (*session).doStore,
	"COPY":    func(s *session, byUID bool) (string, error) { return s.doCopy(byUID, false) },
	"MOVE":    func(s *session, byUID bool) (string, error) { return s.doCopy(byUID, true) },
}

func plain(h handler) func(*session, bool) (string, error) {
	return func(s *session, _ bool) (string, error) { return h(s) }
}

// uidForms are the commands that UID can stand before.
const uidForms = " EXPUNGE SEARCH SORT THREAD REPLACE FETCH STORE COPY MOVE "

// lookup finds a command that is allowed now.
func (s *session) lookup(name string) handler {
	if h := always[name]; h != nil {
		return h
	}
	if s.tree == nil {
		return before[name]
	}
	if h := after[name]; h != nil {
		return h
	}
	if s.sel == nil {
		return nil
	}
	switch name {
	case "UNSELECT":
		return (*session).doUnselect
	case "CANCELUPDATE":
		return (*session).doCancelUpdate
	case "UID":
		return (*session).doUID
	}
	if h := inside[name]; h != nil {
		if s.uidonly && name != "EXPUNGE" && strings.Contains(uidForms, " "+name+" ") {
			return func(*session) (string, error) { return "", errUIDRequired }
		}
		return func(s *session) (string, error) { return h(s, false) }
	}
	return nil
}

// errUIDRequired is the answer to message numbers of a client that has said it
// would use UIDs only (RFC 9586 section 3).
var errUIDRequired = bad("[UIDREQUIRED] message numbers are off")

// doUID carries out the UID form of a command.
func (s *session) doUID() (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	name, err := s.in.Atom()
	if err != nil {
		return "", err
	}
	s.verb = strings.ToUpper(name)
	if !strings.Contains(uidForms, " "+s.verb+" ") {
		return "", bad("no such UID command")
	}
	return inside[s.verb](s, true)
}

// offered is what can be used after the login, besides what is there before.
var offered = []string{
	"NAMESPACE", "UIDPLUS", "MOVE", "UNSELECT", "CHILDREN", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CREATE-SPECIAL-USE", "ESEARCH", "SEARCHRES",
	"STATUS=SIZE", "BINARY", "MULTIAPPEND", "CATENATE", "REPLACE", "CONDSTORE", "QRESYNC", "OBJECTID", "SAVEDATE", "PREVIEW", "WITHIN",
	"PARTIAL", "SORT", "SORT=DISPLAY", "ESORT", "I18NLEVEL=1", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES", "THREAD=REFS", "UTF8=ACCEPT",
	"CONTEXT=SEARCH", "CONTEXT=SORT", "MULTISEARCH", "INPROGRESS", "UIDONLY", "NOTIFY", "METADATA", "LIST-METADATA",
	"QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE",
}

// capabilities are those that can be used now.
func (s *session) capabilities() string {
	words := []string{"IMAP4rev1", "IMAP4rev2", "LITERAL+", "SASL-IR", "ID", "ENABLE", "IDLE"}
	if s.tree == nil {
		return strings.Join(append(words, s.loginCapabilities()...), " ")
	}
	words = append(append(words, offered...), fmt.Sprintf("APPENDLIMIT=%d", s.maxSize()))
	if s.MessageLimit > 0 {
		words = append(words, fmt.Sprintf("MESSAGELIMIT=%d", s.MessageLimit))
	}
	if s.deflate == nil {
		words = append(words, "COMPRESS=DEFLATE")
	}
	if s.Preauth == nil && s.deflate == nil {
		words = append(words, "UNAUTHENTICATE")
	}
	return strings.Join(words, " ")
}

// enable turns one extension on, and gives its name as it is spelled; "" for what
// cannot be enabled.
func (s *session) enable(name string) string {
	switch name {
	case "IMAP4REV2":
		s.rev2, s.utf8 = true, true
		return "IMAP4rev2"
	case "UTF8=ACCEPT": // RFC 6855 section 3
		s.utf8 = true
		return name
	case "CONDSTORE":
		s.useModSeq()
		return name
	case "QRESYNC":
		s.useModSeq()
		s.qresync = true
		return name
	case "UIDONLY":
		s.uidonly = true
		return name
	}
	return ""
}

func (s *session) doCapability() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	s.line("* CAPABILITY " + s.capabilities())
	return "done", nil
}

func (s *session) doNoop() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	if s.sel != nil {
		err := s.sel.folder.Sync(s.ctx)
		if errors.Is(err, mailbox.ErrGone) {
			s.line("* BYE the selected mailbox is gone")
			s.quit = true
		}
		if err != nil {
			return "", err
		}
	}
	return "done", nil
}

func (s *session) doLogout() (string, error) {
	if err := s.crlf(); err != nil {
		return "", err
	}
	if s.sel != nil {
		if err := s.sel.folder.PayDebts(s.ctx); err != nil {
			s.report(maillog.Session{Kind: maillog.Troubled, Login: s.login, Err: err}) // whoever locks next pays
		}
		s.unselect()
	}
	s.line("* BYE logging out")
	s.quit, s.clean = true, true
	return "done", nil
}

// doID tells who we are (RFC 2971); what the client says is read over.
func (s *session) doID() (string, error) {
	err := s.sp()
	if err != nil {
		return "", err
	}
	if c, perr := s.in.Peek(); perr == nil && c == '(' {
		err = s.in.List(func() error { _, err := s.nstring(); return err })
	} else {
		_, err = s.nstring()
	}
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	b := imapwire.AppendString([]byte(`* ID ("name" "postbag" "version" `), s.Version, false)
	s.line(string(b) + ")")
	return "done", nil
}

// nstring reads a string or NIL.
func (s *session) nstring() (string, error) {
	text, err := s.in.Astring()
	if strings.EqualFold(text, "NIL") {
		text = ""
	}
	return text, err
}

// doEnable turns extensions on (RFC 5161).
func (s *session) doEnable() (string, error) {
	var asked []string
	for first := true; first || !s.in.AtEnd(); first = false {
		if err := s.sp(); err != nil {
			return "", err
		}
		name, err := s.in.Atom()
		if err != nil {
			return "", err
		}
		if name = strings.ToUpper(name); !slices.Contains(asked, name) {
			asked = append(asked, name)
		}
	}
	if err := s.crlf(); err != nil {
		return "", err
	}
	on := ""
	for _, name := range asked {
		if name = s.enable(name); name != "" {
			on += " " + name
		}
	}
	s.line("* ENABLED" + on)
	return "done", nil
}
