package status

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

var errCause = errors.New("cause")

func TestReply(t *testing.T) {
	noUser := Perm("look up x", "5.1.1", "no such user", errCause)
	for name, c := range map[string]struct {
		err  error
		want string
		exit int
	}{
		"what nobody has classified is temporary":         {errCause, "451 4.3.0 local error, try again later", 75},
		"a full disk has its own code":                    {fmt.Errorf("write x: %w", syscall.ENOSPC), "452 4.3.1 insufficient system storage", 75},
		"a full disk keeps it inside a temporary failure": {Temp("x", "4.2.0", "busy", syscall.EDQUOT), "452 4.3.1 insufficient system storage", 75},
		"an unknown user is permanent":                    {noUser, "550 5.1.1 no such user", 67},
		"wrapping changes nothing":                        {fmt.Errorf("deliver: %w", noUser), "550 5.1.1 no such user", 67},
		"of two, one that may pass makes both temporary":  {errors.Join(noUser, errCause), "451 4.1.1 no such user", 75},
		"two that stay, stay":                             {errors.Join(noUser, noUser), "550 5.1.1 no such user", 67},
		"a reply of the wrong class is not used":          {&Error{Code: "4.2.2", Reply: 552, Text: "full"}, "451 4.2.2 full", 75},
		"a reply of its class is":                         {&Error{Code: "4.2.2", Reply: 452, Text: "full"}, "452 4.2.2 full", 75},
		"line ends do not get into a reply":               {Perm("x", "5.0.0", "a\r\n250 b", nil), "550 5.0.0 a  250 b", 69},
		"no path gets into a reply":                       {Temp("open /secret", "4.3.0", "", errors.New("/secret")), "451 4.3.0 local error, try again later", 75},
		"an exit code is kept":                            {Exit(ExConfig, "x", errCause), "550 5.3.0 not possible", 78},
	} {
		if got := Diagnostic(c.err); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if got := ExitCode(c.err); got != c.exit {
			t.Errorf("%s: exit %d, want %d", name, got, c.exit)
		}
	}
	if ExitCode(nil) != 0 {
		t.Error("no error is a failure")
	}
}

func TestErrorNamesOperationAndCause(t *testing.T) {
	for want, err := range map[string]error{
		"look up x: no such user: cause": Perm("look up x", "5.1.1", "no such user", errCause),
		"look up x: no such user":        Perm("look up x", "5.1.1", "no such user", nil),
		"x: cause":                       Exit(64, "x", errCause),
		"read: cause of it":              Temp("read", "", "cause", errors.New("cause of it")),
		"connect to x: refused":          Temp("connect to x", "", "connect to x: refused", errors.New("refused")),
		"send: put off: connect: no":     Temp("send", "", "put off: connect: no", Temp("connect", "", "no", nil)),
		"temporary failure":              &Error{},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err.Error(), want)
		}
	}
	if !errors.Is(Temp("x", "", "", errCause), errCause) {
		t.Error("the cause is lost")
	}
}

func TestStorageTroubleIsKnown(t *testing.T) {
	if !IsStorage(fmt.Errorf("x: %w", syscall.EROFS)) || IsStorage(errCause) {
		t.Error("wrong")
	}
}
