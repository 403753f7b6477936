package uidlist

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"postbag/internal/durable"
)

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want *List
	}{
		"version 3": {
			"3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n25017 W2481 P1f0b :1276533073.M242911P3632.kurkku:2,F\n",
			&List{1275660208, 25022, "3085f01b7f11094c501100008c4a11c1", []Record{
				{25006, nil, "1276528487.M364837P9451.kurkku,S=1355,W=1394:2,"},
				{25017, []string{"W2481", "P1f0b"}, "1276533073.M242911P3632.kurkku:2,F"},
			}},
		},
		"version 1": {
			"1 1275660208 7\n3 1276528487.M364837P9451.kurkku\n5 b:2,S\n",
			&List{1275660208, 7, "", []Record{{3, nil, "1276528487.M364837P9451.kurkku"}, {5, nil, "b:2,S"}}},
		},
		"records beyond the next UID": {
			"3 V7 N2\n2 :a\n9 :b\n",
			&List{7, 10, "", []Record{{2, nil, "a"}, {9, nil, "b"}}},
		},
		"torn, senseless and descending lines": {
			"3 V7 N2\n2 :a\n\nx\n5 Z\n4294967295 :z\n0 :n\n1 :c\n6 :../x\n7 :b\n8 :to",
			&List{7, 8, "", []Record{{2, nil, "a"}, {7, nil, "b"}}},
		},
		"no list":          {"hello\n", nil},
		"no UIDVALIDITY":   {"3 N5\n1 :a\n", nil},
		"a torn header":    {"3 V12", nil},
		"another version":  {"2 1 1\n", nil},
		"an empty file":    {"", nil},
		"a number too big": {"3 V99999999999 N1\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(c.text))
			if (err != nil) != (c.want == nil) || c.want != nil && !reflect.DeepEqual(got, c.want) {
				t.Errorf("Parse = %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestUIDL(t *testing.T) {
	for fields, want := range map[[2]string]string{
		{"S5", "Pabc"}:    "abc",
		{"S5", "W6"}:      "",
		{"S5", "P"}:       "",
		{"S5", "Pa\x01b"}: "",
	} {
		r := Record{Fields: fields[:]}
		if got := r.UIDL(); got != want {
			t.Errorf("UIDL of %q = %q, want %q", fields, got, want)
		}
	}
}

func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), Dovecot)
	fs := durable.New()
	l, ok, err := Lock(fs, file, 0)
	if err != nil || !ok {
		t.Fatalf("Lock = %t, %v", ok, err)
	}
	if _, ok, err := Lock(fs, file, 0); ok || err != nil {
		t.Errorf("a second Lock = %t, %v", ok, err)
	}
	long := time.Now().Add(-2 * staleAge)
	if err := os.Chtimes(file+".lock", long, long); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Lock(fs, file, 0); !ok || err != nil {
		t.Errorf("Lock of a forgotten one = %t, %v", ok, err)
	}
	// A process of this host that has ended.
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		fmt.Sprintf("%d:%s", dead.Process.Pid, host):  true,
		fmt.Sprintf("%d:elsewhere", dead.Process.Pid): false,
		fmt.Sprintf("%d:%s", os.Getpid(), host):       false,
		"":                                            false,
	} {
		if err := os.WriteFile(file+".lock", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := Lock(fs, file, 0); ok != want || err != nil {
			t.Errorf("Lock while %q has it = %t, %v", text, ok, err)
		}
	}
	l.Unlock()
	if _, err := os.Stat(file + ".lock"); err == nil {
		t.Error("the lock is there after Unlock")
	}
}

// FuzzParse: what was parsed is parsed the same when it is written.
func FuzzParse(f *testing.F) {
	f.Add([]byte("3 V7 N2 Gab\n2 S5 Pxy :a:2,S\n"))
	f.Add([]byte("1 7 2\n2 a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(l.Format())
		if err != nil || !reflect.DeepEqual(l, again) {
			t.Fatalf("%+v is written as %q and read as %+v, %v", l, l.Format(), again, err)
		}
	})
}
