# postbag: `make` builds ./bin, `make check` runs every test, `make demo` shows
# the way of a letter through all six programs. See README.md.

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
FUZZTIME ?= 60s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PROGRAMS := smtpd popd imapd sendmail mailq fetch
LINKS    := newaliases runq send-mail
PAGES1   := $(wildcard man/*.1)
PAGES5   := $(wildcard man/*.5)
PAGES8   := $(wildcard man/*.8)
LDFLAGS  := -s -w -X postbag/internal/config.Version=$(VERSION)

export CGO_ENABLED ?= 0

all: build

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS:%=./cmd/%)
	@for l in $(LINKS); do ln -sf sendmail bin/$$l; done

# The program that asks PAM, for --auth pam:SERVICE. It takes a C compiler and the
# headers of Linux-PAM (libpam0g-dev).
pam:
	CGO_ENABLED=1 $(GO) build -trimpath -tags pam -ldflags '-s -w' -o bin/postbag-pam ./cmd/internal/pam

# Everything that must hold before a change is taken.
check: lint test

lint:
	@files=$$(gofmt -l cmd internal); test -z "$$files" || { echo "gofmt: $$files"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	@if command -v mandoc >/dev/null; then mandoc -Tlint -Wwarning man/*.[158]; else echo "mandoc is not installed: the pages are not linted"; fi

# The race detector needs cgo.
test:
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 20m ./...

demo: build
	$(GO) run ./internal/demo -bin bin

bench: build
	$(GO) run ./internal/bench -bin bin

# Each fuzz target of each package for FUZZTIME.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$pkg || exit 1; \
		done; \
	done

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 755 bin/mailq bin/fetch $(DESTDIR)$(PREFIX)/bin
	install -m 755 bin/smtpd bin/popd bin/imapd bin/sendmail $(DESTDIR)$(PREFIX)/sbin
	test ! -e bin/postbag-pam || install -m 755 bin/postbag-pam $(DESTDIR)$(PREFIX)/sbin
	for l in $(LINKS); do ln -sf sendmail $(DESTDIR)$(PREFIX)/sbin/$$l; done
	install -m 644 $(PAGES1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(PAGES5) $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 $(PAGES8) $(DESTDIR)$(PREFIX)/share/man/man8

clean:
	rm -rf bin .bench

.PHONY: all build pam check lint test demo bench fuzz install clean
