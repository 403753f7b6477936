package main

import (
	"context"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"
)

// A person is who runs sendmail.
type person struct {
	login, name string
}

// whoRuns finds the user of this process. One that no list of users has still
// can send: a letter of a container's made-up uid must not be lost.
func whoRuns(ctx context.Context) person {
	uid := strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(uid); err == nil {
		return person{u.Username, gecosName(u.Name, u.Username)}
	}
	if p, ok := getent(ctx, uid); ok {
		return p
	}
	return person{login: "uid" + uid}
}

// getent asks the name service, for LDAP and the like.
func getent(ctx context.Context, uid string) (person, bool) {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, "getent", "passwd", uid).Output()
	if err != nil {
		return person{}, false
	}
	f := strings.Split(strings.TrimSpace(string(out)), ":")
	if len(f) < 5 || f[0] == "" {
		return person{}, false
	}
	return person{f[0], gecosName(f[4], f[0])}, true
}

// gecosName is the full name of passwd(5): up to a comma, & is the login with a
// capital letter.
func gecosName(gecos, login string) string {
	name, _, _ := strings.Cut(gecos, ",")
	if login == "" {
		return name
	}
	return strings.ReplaceAll(name, "&", strings.ToUpper(login[:1])+login[1:])
}
