package wire

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"postbag/internal/config"
)

// Check is for --check: what is wrong with the files that the settings name.
func Check(_ context.Context, v *config.Values) []error {
	var faults []error
	accounts, err := OpenAccounts(v, nil)
	if err != nil {
		faults = append(faults, err)
	} else {
		faults = append(faults, accounts.unable()...)
	}
	faults = append(faults, openModes(v)...)
	if _, err := Roots(v, "client-ca"); err != nil {
		faults = append(faults, err)
	}
	cert, key := v.String("tls-cert"), v.String("tls-key")
	if cert == "" && key == "" {
		return faults
	}
	pair, err := openTLS(nil, v, nil)
	if err != nil {
		return append(faults, err)
	}
	if left := untilDays(pair.Expires()); left < warnDays {
		faults = append(faults, fmt.Errorf("tls-cert %s: expires in %d days", cert, left))
	}
	return faults
}

// private are what of a spool nobody else may see.
var private = []string{"queue", "state", "state/selfsigned.pem"}

// openModes finds what of the spool others may read and must not.
func openModes(v *config.Values) (faults []error) {
	dir := v.String("spool")
	for _, name := range private {
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		if err != nil { // it is made when it is needed
			continue
		}
		if open := st.Mode().Perm() & 0o007; open != 0 {
			faults = append(faults, fmt.Errorf("%s: open to others (mode %04o); chmod o= %[1]s", path, st.Mode().Perm()))
		}
	}
	if st, err := os.Stat(dir); dir != "" && err == nil && !st.IsDir() {
		faults = append(faults, fmt.Errorf("spool %s: no directory", dir))
	}
	return faults
}
