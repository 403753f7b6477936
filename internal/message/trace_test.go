package message

import (
	"testing"
	"time"
)

var testTime = time.Date(2026, 11, 24, 10, 0, 0, 0, time.FixedZone("CET", 3600))

func TestReceived(t *testing.T) {
	tests := []struct {
		name  string
		trace Trace
		want  string
	}{
		{"everything", Trace{FromHELO: "c.example", FromName: "real.example", FromIP: "192.0.2.1", ByHost: "mx.example.org", With: "ESMTPS", ID: "Q1", TLS: "TLS 1.3 with cipher X", For: "ann@example.org", UID: -1, At: testTime},
			"Received: from c.example (real.example [192.0.2.1])\n\tby mx.example.org (postbag) with ESMTPS id Q1\n\t(using TLS 1.3 with cipher X)\n\tfor <ann@example.org>;\n\tTue, 24 Nov 2026 10:00:00 +0100\n"},
		{"a local user", Trace{ByHost: "h", ID: "Q1", UID: 1000, At: testTime},
			"Received: by h (postbag, from userid 1000) id Q1;\n\tTue, 24 Nov 2026 10:00:00 +0100\n"},
		{"a client without a name", Trace{FromIP: "IPv6:2001:db8::1", ByHost: "h", UID: -1, At: testTime},
			"Received: from unknown ([IPv6:2001:db8::1])\n\tby h (postbag);\n\tTue, 24 Nov 2026 10:00:00 +0100\n"},
		{"how urgent it is", Trace{FromIP: "192.0.2.1", ByHost: "h", For: "ann@example.org", UID: -1, At: testTime, Priority: -4},
			"Received: from unknown ([192.0.2.1])\n\tby h (postbag)\n\tfor <ann@example.org>\n\tpriority -4;\n\tTue, 24 Nov 2026 10:00:00 +0100\n"},
		{"a name that would break the field", Trace{FromHELO: "x)\r\nEvil: (;<", ByHost: "h", UID: -1, At: testTime},
			"Received: from x???Evil: ???\n\tby h (postbag);\n\tTue, 24 Nov 2026 10:00:00 +0100\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.trace.Received().Raw); got != tt.want {
				t.Errorf("Received() =\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
