package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/GehirnInc/crypt"
	_ "github.com/GehirnInc/crypt/sha256_crypt" // registers $5$
	_ "github.com/GehirnInc/crypt/sha512_crypt" // registers $6$
	"github.com/openwall/yescrypt-go"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/pbkdf2"
)

// A secret is what is kept of a password.
type secret interface {
	matches(password string) bool
	// dummy is a secret that costs the same to check.
	dummy() secret
}

// parseSecret reads {SCHEME}password, or a string of crypt(3) without scheme.
func parseSecret(s string) (secret, error) {
	scheme, text, ok := cutScheme(s)
	if !ok {
		return parseCrypt(s)
	}
	switch scheme {
	case "PLAIN", "CLEARTEXT":
		return newPlain(text)
	case "SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "CRYPT", "YESCRYPT", "ARGON2ID":
		return parseCrypt(text)
	case "SCRAM-SHA-256":
		return parseScram(text)
	}
	return nil, fmt.Errorf("password scheme {%s} is not known", scheme)
}

func cutScheme(s string) (scheme, text string, ok bool) {
	inner, ok := strings.CutPrefix(s, "{")
	if !ok {
		return "", s, false
	}
	scheme, text, ok = strings.Cut(inner, "}")
	return strings.ToUpper(scheme), text, ok
}

// parseCrypt tells the schemes of crypt(3) by how they begin.
func parseCrypt(s string) (secret, error) {
	switch {
	case strings.HasPrefix(s, "$6$"), strings.HasPrefix(s, "$5$"):
		c := shaSecret(s)
		return c, c.check()
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		if _, err := bcrypt.Cost([]byte(s)); err != nil {
			return nil, errors.New("broken bcrypt password")
		}
		return bcryptSecret(s), nil
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon(s)
	case strings.HasPrefix(s, "$y$"):
		return parseYescrypt(s)
	case s == "" || s[0] == '!' || s[0] == '*':
		return lockedSecret{}, nil
	}
	return nil, errors.New("password has no scheme that is known")
}

// A lockedSecret matches no password; the account takes mail only. Its password
// is checked against a dummy, like that of an unknown name.
type lockedSecret struct{}

func (lockedSecret) matches(string) bool { return false }
func (s lockedSecret) dummy() secret     { return s }

// A shaSecret is SHA512-CRYPT or SHA256-CRYPT.
type shaSecret string

func (s shaSecret) check() error {
	if strings.Count(string(s), "$") < 3 || strings.HasSuffix(string(s), "$") {
		return errors.New("broken crypt password")
	}
	return nil
}

func (s shaSecret) matches(password string) bool {
	return crypt.NewFromHash(string(s)).Verify(string(s), []byte(password)) == nil
}

func (s shaSecret) dummy() secret {
	at := strings.LastIndexByte(string(s), '$')
	return s[:at+1] + shaSecret(strings.Repeat(".", len(s)-at-1))
}

// A bcryptSecret is BLF-CRYPT.
type bcryptSecret string

func (s bcryptSecret) matches(password string) bool {
	p := []byte(password)
	if len(p) > 72 {
		p = p[:72] // what bcrypt itself looks at; the library refuses more
	}
	return bcrypt.CompareHashAndPassword([]byte(s), p) == nil
}

func (s bcryptSecret) dummy() secret { return s[:29] + bcryptSecret(strings.Repeat(".", len(s)-29)) }

// A yescryptSecret is what crypt(3) makes where shadow(5) is new: $y$j9T$SALT$HASH.
type yescryptSecret string

// yescryptForm is what the library can do: up to 1 GiB of memory for a login.
var yescryptForm = regexp.MustCompile(`^\$y\$j[7-9A-F][./0-9A-T]\$[./0-9A-Za-z]{0,86}\$[./0-9A-Za-z]{43}$`)

func parseYescrypt(s string) (secret, error) {
	if !yescryptForm.MatchString(s) {
		return nil, errors.New("broken yescrypt password, or one with parameters that are not known")
	}
	return yescryptSecret(s), nil
}

func (s yescryptSecret) matches(password string) bool {
	got, err := yescrypt.Hash([]byte(password), []byte(s))
	return err == nil && subtle.ConstantTimeCompare(got, []byte(s)) == 1
}

func (s yescryptSecret) dummy() secret {
	at := strings.LastIndexByte(string(s), '$')
	return s[:at+1] + yescryptSecret(strings.Repeat(".", len(s)-at-1))
}

// An argonSecret is ARGON2ID.
type argonSecret struct {
	memory, time uint32
	threads      uint8
	salt, hash   []byte
}

// maxArgonMemory bounds what a users file may make a login cost, in KiB.
const maxArgonMemory = 1 << 20

// parseArgon reads $argon2id$v=19$m=65536,t=3,p=1$SALT$HASH.
func parseArgon(s string) (secret, error) {
	broken := errors.New("broken argon2id password")
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, broken
	}
	var a argonSecret
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &a.memory, &a.time, &a.threads); n != 3 || err != nil {
		return nil, broken
	}
	var err error
	if a.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return nil, broken
	}
	if a.hash, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return nil, broken
	}
	if a.time < 1 || a.time > 100 || a.threads < 1 || a.memory > maxArgonMemory || len(a.hash) < 4 || len(a.hash) > 1024 {
		return nil, broken
	}
	return a, nil
}

func (a argonSecret) matches(password string) bool {
	got := argon2.IDKey([]byte(password), a.salt, a.time, a.memory, a.threads, uint32(len(a.hash)))
	return subtle.ConstantTimeCompare(got, a.hash) == 1
}

func (a argonSecret) dummy() secret {
	a.hash = make([]byte, len(a.hash))
	return a
}

// A scramSecret can be used for SCRAM-SHA-256, and is checked by it.
type scramSecret interface {
	secret
	// credentials are what a proof is checked by; those that have no salt of
	// their own get this one.
	credentials(salt []byte) Credentials
}

// scramIterations is what RFC 7677 section 4 asks for at least.
const scramIterations = 4096

// A plainSecret is the password itself.
type plainSecret string

func newPlain(s string) (secret, error) { return plainSecret(s), nil }

func (s plainSecret) matches(password string) bool {
	// Hashes have one length, so the length of the password does not show.
	a, b := sha256.Sum256([]byte(s)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && s != ""
}

func (s plainSecret) dummy() secret { return plainSecret("") }

// credentials are made with the salt of the name. It must tell nothing of the
// password: everybody may ask for it.
func (s plainSecret) credentials(salt []byte) Credentials {
	return derive(string(s), salt, scramIterations)
}

// derive makes credentials (RFC 5802 section 3).
func derive(password string, salt []byte, iterations int) Credentials {
	salted := pbkdf2.Key([]byte(password), salt, iterations, sha256.Size, sha256.New)
	stored := sha256.Sum256(mac(salted, "Client Key"))
	return Credentials{Salt: salt, Iterations: iterations, StoredKey: stored[:], ServerKey: mac(salted, "Server Key")}
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// A storedScram is {SCRAM-SHA-256}ITERATIONS,SALT,STOREDKEY,SERVERKEY.
type storedScram struct{ c Credentials }

func parseScram(s string) (secret, error) {
	broken := errors.New("broken SCRAM-SHA-256 password")
	parts := strings.Split(s, ",")
	if len(parts) != 4 {
		return nil, broken
	}
	var c Credentials
	var err error
	if c.Iterations, err = strconv.Atoi(parts[0]); err != nil || c.Iterations < 1 || c.Iterations > 10_000_000 {
		return nil, broken
	}
	for i, to := range []*[]byte{&c.Salt, &c.StoredKey, &c.ServerKey} {
		if *to, err = base64.StdEncoding.DecodeString(parts[i+1]); err != nil || len(*to) == 0 {
			return nil, broken
		}
	}
	return storedScram{c}, nil
}

func (s storedScram) credentials([]byte) Credentials { return s.c }

func (s storedScram) matches(password string) bool {
	got := derive(password, s.c.Salt, s.c.Iterations)
	return subtle.ConstantTimeCompare(got.StoredKey, s.c.StoredKey) == 1
}

func (s storedScram) dummy() secret {
	c := s.c
	c.StoredKey = make([]byte, len(c.StoredKey))
	return storedScram{c}
}
