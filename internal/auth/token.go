package auth

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A bearer is what a client says to log in with a token.
type bearer struct {
	name  string // whom it wants to be; "": whom the token says
	token string // "": it asks what tokens there should be (RFC 7628 section 4.3)
}

// errMalformed refuses what is not in the form of its mechanism.
var errMalformed = &TokenError{Status: invalidRequest}

// parseOAuthBearer reads the response of OAUTHBEARER (RFC 7628 section 3.1):
// n,a=NAME,^Ahost=HOST^Aport=PORT^Aauth=Bearer TOKEN^A^A. Where the client thinks that
// it is cannot be held against anything: behind a tunnel or a port that is forwarded
// it is elsewhere, and whoever has stolen a token writes what he likes.
func parseOAuthBearer(response string) (b bearer, err error) {
	header, rest, ok := strings.Cut(response, kvsep)
	if !ok {
		return b, errMalformed
	}
	if b.name, err = parseGS2(header); err != nil {
		return b, err
	}
	pairs, err := parsePairs(rest)
	if err != nil || !validPort(pairs) {
		return b, errMalformed
	}
	auth, ok := pairs["auth"]
	if !ok {
		return b, errMalformed
	}
	if auth != "" {
		b.token, err = parseBearer(auth)
	}
	return b, err
}

// parseXOAUTH2 reads the response of XOAUTH2, which Google and Microsoft have
// described: user=NAME^Aauth=Bearer TOKEN^A^A.
func parseXOAUTH2(response string) (b bearer, err error) {
	user, rest, _ := strings.Cut(response, kvsep)
	var ok bool
	if b.name, ok = strings.CutPrefix(user, "user="); !ok || b.name == "" || !utf8.ValidString(b.name) {
		return b, errMalformed
	}
	pairs, err := parsePairs(rest)
	if err == nil {
		b.token, err = parseBearer(pairs["auth"])
	}
	return b, err
}

const kvsep = "\x01"

// parseGS2 gives the name of a GS2 header: `n,,` or `n,a=NAME,`. There is no
// channel binding for these mechanisms, nor a form that is not standard (RFC 5801
// section 4).
func parseGS2(header string) (name string, err error) {
	parts := strings.Split(header, ",")
	if len(parts) != 3 || parts[0] != "n" && parts[0] != "y" || parts[2] != "" {
		return "", errMalformed
	}
	if parts[1] == "" {
		return "", nil
	}
	name, ok := strings.CutPrefix(parts[1], "a=")
	if !ok || name == "" {
		return "", errMalformed
	}
	return parseSASLName(name)
}

// parseSASLName undoes what keeps commas out of a name: =2C is one, =3D is =.
func parseSASLName(s string) (string, error) {
	name := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	if strings.Count(s, "=2C")+strings.Count(s, "=3D") != strings.Count(s, "=") || !utf8.ValidString(name) {
		return "", errMalformed
	}
	return name, nil
}

// parsePairs reads pairs of a key and a value, each ended by ^A as they are all
// together. Whoever asks for keys ignores those that are not known, as he must.
func parsePairs(s string) (map[string]string, error) {
	pairs := map[string]string{}
	for s != kvsep {
		pair, rest, ok := strings.Cut(s, kvsep)
		key, value, is := strings.Cut(pair, "=")
		_, twice := pairs[key]
		if !ok || !is || twice || !isKey(key) || !isValue(value) {
			return nil, errMalformed
		}
		pairs[key], s = value, rest
	}
	return pairs, nil
}

func isKey(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// isValue has no control characters in a value. The names of hosts may be of any
// letters, which RFC 7628 does not have.
func isValue(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c == 0x7f || c < ' ' && c != '\t' && c != '\r' && c != '\n' })
}

// validPort tells whether the port, if there is one, is a number without leading
// zeros.
func validPort(pairs map[string]string) bool {
	port, ok := pairs["port"]
	n, err := strconv.ParseUint(port, 10, 16)
	return !ok || err == nil && n > 0 && port[0] >= '1'
}

// parseBearer reads the value that would be in the field Authorization of HTTP
// (RFC 6750 section 2.1), with any characters that can be seen for the token.
func parseBearer(value string) (string, error) {
	scheme, token, _ := strings.Cut(value, " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" || len(token) > maxToken || strings.ContainsFunc(token, hidden) {
		return "", errMalformed
	}
	return token, nil
}

// hidden tells what is no character of a token.
func hidden(c rune) bool { return c <= ' ' || c > '~' }

// A tokenServer is OAUTHBEARER (RFC 7628) or XOAUTH2. A client whose token is
// refused is told why by a challenge; then the exchange fails, whatever it answers.
type tokenServer struct {
	base
	parse   func(response string) (bearer, error)
	explain func(*TokenError) []byte
	refused error
}

func (s *tokenServer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case s.refused != nil:
		return nil, false, s.refused
	case response == nil:
		return []byte{}, false, nil
	}
	b, err := s.parse(string(response))
	s.login = b.name
	if err == nil {
		err = s.admit(s.x.context(), b)
	}
	if err == nil {
		return nil, true, nil
	}
	why := &TokenError{Status: invalidToken}
	if !errors.As(err, &why) && !errors.Is(err, ErrBadCredentials) {
		return nil, false, err
	}
	s.refused = err
	return s.explain(why), false, nil
}

func (s *tokenServer) Refused() error { return s.refused }

// admit lets the client in whose token is good.
func (s *tokenServer) admit(ctx context.Context, b bearer) error {
	account, err := s.x.Throttle.Token(ctx, s.dir, s.x.Peer, b.name, b.token)
	if err == nil {
		s.account, s.login = account, account.Name
	}
	return err
}

// A TokenError is why a token is not good, for the client (RFC 7628 section
// 3.2.2). It is an ErrBadCredentials.
type TokenError struct {
	Status string `json:"status"`                         // of the registry of errors of OAuth
	Scope  string `json:"scope,omitempty"`                // that tokens should have
	Config string `json:"openid-configuration,omitempty"` // URL of where they are to be had
}

// What TokenErrors of ours say (RFC 6750 section 3.1).
const (
	invalidRequest = "invalid_request"
	invalidToken   = "invalid_token"
)

func (e *TokenError) Error() string { return "token refused: " + e.Status }
func (e *TokenError) Unwrap() error { return ErrBadCredentials }

func (e *TokenError) json() []byte {
	text, _ := json.Marshal(e) // strings always can be
	return text
}

// jsonOfGoogle says it in the numbers of HTTP, as clients of XOAUTH2 expect it.
func (e *TokenError) jsonOfGoogle() []byte {
	code := map[string]string{invalidRequest: "400", "insufficient_scope": "403"}[e.Status]
	if code == "" {
		code = "401"
	}
	text, _ := json.Marshal(struct {
		Status  string `json:"status"`
		Schemes string `json:"schemes"`
		Scope   string `json:"scope,omitempty"`
	}{code, "bearer", e.Scope})
	return text
}
