package status

import (
	"errors"
	iofs "io/fs"
	"syscall"
)

// Codes of sysexits(3).
const (
	ExOK          = 0
	ExUsage       = 64 // the command line is wrong
	ExDataErr     = 65 // the input is wrong
	ExNoInput     = 66 // a file or message that was named is not there
	ExNoUser      = 67 // no such recipient
	ExNoHost      = 68 // no such host
	ExUnavailable = 69 // a service is not there
	ExSoftware    = 70 // a mistake of ours
	ExOSErr       = 71 // the system refused something
	ExOSFile      = 72 // a file of the system is wrong
	ExCantCreat   = 73 // an output file cannot be made
	ExIOErr       = 74 // reading or writing failed
	ExTempFail    = 75 // try again later
	ExProtocol    = 76 // the peer said something impossible
	ExNoPerm      = 77 // not allowed
	ExConfig      = 78 // the configuration is wrong
)

// ExitCode is what a program that failed with err ends with; 0 for nil. What is
// unclassified is 75, so that the caller tries again.
func ExitCode(err error) int {
	if err == nil {
		return ExOK
	}
	var e *Error
	if !errors.As(err, &e) {
		return ExTempFail
	}
	switch {
	case e.Exit != 0:
		return e.Exit
	case ClassOf(err) == Temporary:
		return ExTempFail
	}
	return exitOfCode(e.Code)
}

// exitOfCode maps subjects of RFC 3463 as Sendmail does.
func exitOfCode(code string) int {
	switch code {
	case "5.1.1", "5.1.3", "5.1.6":
		return ExNoUser
	case "5.1.2", "5.1.10", "5.4.4":
		return ExNoHost
	case "5.3.5":
		return ExConfig
	case "5.6.0", "5.6.7":
		return ExDataErr
	case "5.7.0", "5.7.1", "5.7.8":
		return ExNoPerm
	}
	return ExUnavailable
}

// IsStorage reports whether err says that the disk is full, read-only or
// broken: what a human has to look at.
func IsStorage(err error) bool {
	for _, no := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, iofs.ErrPermission} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
