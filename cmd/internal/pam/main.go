//go:build pam

// Command postbag-pam asks PAM for a password, with the interface of checkpassword:
//
//	postbag-pam SERVICE PROGRAM ARGUMENT... 3<name,password,time
//
// It runs PROGRAM when the name may log in with the password, with $USER and $HOME
// set. Else it ends with 1, or with 111 when PAM cannot say. It is a program of its
// own because Linux-PAM is a library of C whose modules may do anything to the
// process that they are in. `make pam` builds it.
package main

/*
#cgo LDFLAGS: -lpam
#include <security/pam_appl.h>
#include <stdlib.h>
#include <string.h>

// answer gives the password to each question that hides what is typed; others it
// cannot answer. PAM frees what it gets.
static int answer(int n, const struct pam_message **asked, struct pam_response **given, void *password) {
	struct pam_response *all = calloc(n, sizeof *all);
	if (all == NULL)
		return PAM_BUF_ERR;
	for (int i = 0; i < n; i++)
		if (asked[i]->msg_style == PAM_PROMPT_ECHO_OFF)
			all[i].resp = strdup(password);
	*given = all;
	return PAM_SUCCESS;
}

// no_delay stands for the wait after a wrong password: whoever asks sees to that, and
// for each address by itself.
static void no_delay(int retval, unsigned usec, void *password) {}

static int check(const char *service, const char *name, char *password) {
	struct pam_conv conv = { answer, password };
	pam_handle_t *h = NULL;
	int rc = pam_start(service, name, &conv, &h);
	if (rc == PAM_SUCCESS)
		rc = pam_set_item(h, PAM_FAIL_DELAY, (const void *) no_delay);
	if (rc == PAM_SUCCESS)
		rc = pam_authenticate(h, PAM_SILENT);
	if (rc == PAM_SUCCESS)
		rc = pam_acct_mgmt(h, PAM_SILENT);
	if (h != NULL)
		pam_end(h, rc);
	return rc;
}
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"syscall"
	"unsafe"
)

// Exit codes of the interface.
const (
	wrong   = 1
	misused = 2
	trouble = 111
)

func main() {
	code, err := run(os.Args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "postbag-pam: %v\n", err)
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if len(args) < 3 {
		return misused, errors.New("usage: postbag-pam SERVICE PROGRAM ARGUMENT...")
	}
	name, password, err := credentials(os.NewFile(3, "credentials"))
	if err != nil {
		return misused, err
	}
	if code := ask(args[1], name, password); code != 0 {
		return code, nil
	}
	if err = become(name, args[2:]); err != nil {
		err = fmt.Errorf("run %s: %w", args[2], err)
	}
	return trouble, err
}

// maxCredentials is what the interface allows.
const maxCredentials = 512

// credentials reads name and password, each ended by NUL.
func credentials(from io.Reader) (name, password string, err error) {
	b, err := io.ReadAll(io.LimitReader(from, maxCredentials))
	if err != nil {
		return "", "", fmt.Errorf("read descriptor 3: %w", err)
	}
	f := bytes.Split(b, []byte{0})
	if len(f) < 3 || len(f[0]) == 0 {
		return "", "", errors.New("read descriptor 3: no name and password")
	}
	return string(f[0]), string(f[1]), nil
}

// ask gives 0 when PAM lets them in.
func ask(service, name, password string) int {
	s, n, p := C.CString(service), C.CString(name), C.CString(password)
	defer C.free(unsafe.Pointer(s))
	defer C.free(unsafe.Pointer(n))
	defer C.free(unsafe.Pointer(p))
	switch C.check(s, n, p) {
	case C.PAM_SUCCESS:
		return 0
	case C.PAM_AUTH_ERR, C.PAM_USER_UNKNOWN, C.PAM_MAXTRIES, C.PAM_PERM_DENIED, C.PAM_ACCT_EXPIRED,
		C.PAM_NEW_AUTHTOK_REQD, C.PAM_AUTHTOK_EXPIRED, C.PAM_CRED_EXPIRED, C.PAM_CRED_INSUFFICIENT:
		return wrong
	}
	return trouble
}

// become runs a program in our place; it returns only when that fails.
func become(name string, argv []string) error {
	env := append(os.Environ(), "USER="+name)
	if u, err := user.Lookup(name); err == nil {
		env = append(env, "HOME="+u.HomeDir)
	}
	return syscall.Exec(argv[0], argv, env)
}
