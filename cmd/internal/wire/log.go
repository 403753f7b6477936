package wire

import (
	"io"
	"os"

	"postbag/internal/config"
	"postbag/internal/maillog"
)

// openLog gives the log that the settings ask for. Lines for syslog and for the
// journal have their priority, and not the time.
func openLog(v *config.Values) (*maillog.Log, error) {
	f := maillog.Form{Level: level(v), Format: v.String("log-format"), Program: v.Program(), Hostname: v.String("hostname")}
	var w io.Writer = v.Stderr
	switch file, isFile := w.(*os.File); {
	case v.String("log-to") == "syslog" || v.StderrTaken():
		f.Taken = true
		w = syslog(v, f)
	case isFile:
		f.Taken = maillog.IsJournal(file, os.Getenv("JOURNAL_STREAM"))
	}
	return maillog.New(maillog.NewBatch(w), f)
}

// level is what is logged. A session that is logged in already has the terminal of
// its user as standard error, by ssh, who did not ask for a log.
func level(v *config.Values) string {
	if v.Has("preauth") && v.IsSet("preauth") && !v.IsSet("log-level") {
		return "warn"
	}
	return v.String("log-level")
}

func syslog(v *config.Values, f maillog.Form) *maillog.Syslog {
	s := &maillog.Syslog{Path: config.SyslogSocket, Tag: "postbag/" + f.Program, Spare: v.Stderr}
	if f.Format == "postfix" {
		s.Tag = "" // its lines have their own
	}
	return s
}
