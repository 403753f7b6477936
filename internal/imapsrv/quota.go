package imapsrv

import (
	"fmt"
	"strings"
)

// quotaRoot is the name of the one quota root that an account has: Dovecot's, which
// some clients show.
const quotaRoot = "User quota"

// doGetQuota is GETQUOTA (RFC 9208 section 4.1.1).
func (s *session) doGetQuota() (string, error) {
	root, err := s.spAstring()
	if err == nil {
		err = s.crlf()
	}
	if err == nil && root != quotaRoot {
		err = no("[NONEXISTENT] no such quota root")
	}
	if err != nil {
		return "", err
	}
	return "done", s.tellQuota()
}

func (s *session) spAstring() (string, error) {
	if err := s.sp(); err != nil {
		return "", err
	}
	return s.in.Astring()
}

// doGetQuotaRoot is GETQUOTAROOT (RFC 9208 section 4.1.2). The folder need not be
// there.
func (s *session) doGetQuotaRoot() (string, error) {
	name, err := s.spName()
	if err == nil {
		err = s.crlf()
	}
	if err != nil {
		return "", err
	}
	s.line("* QUOTAROOT " + s.encodeName(s.tree.Canonical(name)) + " " + quoted(quotaRoot))
	return "done", s.tellQuota()
}

// tellQuota writes a QUOTA response: what has no limit is not in it (RFC 9208
// section 4.2.1).
func (s *session) tellQuota() error {
	limit, usage, err := s.tree.Quota().State()
	if err != nil {
		return err
	}
	var parts []string
	if limit.Bytes > 0 {
		parts = append(parts, fmt.Sprintf("STORAGE %d %d", (usage.Bytes+1023)/1024, limit.Bytes/1024))
	}
	if limit.Letters > 0 {
		parts = append(parts, fmt.Sprintf("MESSAGE %d %d", usage.Letters, limit.Letters))
	}
	s.line("* QUOTA " + quoted(quotaRoot) + " (" + strings.Join(parts, " ") + ")")
	return nil
}

// doSetQuota is SETQUOTA (RFC 9208 section 4.1.3), which is not for clients: the
// quota is set by whoever runs the server.
func (s *session) doSetQuota() (string, error) {
	_, err := s.spAstring()
	if err == nil {
		err = s.sp()
	}
	if err == nil {
		err = s.in.List(s.readResource)
	}
	if err == nil {
		err = s.crlf()
	}
	if err == nil {
		err = no("[NOPERM] quotas are not set by clients")
	}
	return "", err
}

// readResource reads the name of a resource and its limit.
func (s *session) readResource() error {
	_, err := s.in.Atom()
	if err == nil {
		err = s.sp()
	}
	if err == nil {
		_, err = s.in.Number()
	}
	return err
}
