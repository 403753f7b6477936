package mailbox

import (
	"fmt"

	"postbag/internal/mailcache"
)

// An identity is what makes UIDs mean letters.
type identity struct {
	id       [16]byte
	validity uint32
}

// Cache is what is remembered of the letters of a version; nil when the folder
// has become another one since, whose UIDs mean other letters.
func (f *Folder) Cache(v *View) *mailcache.Cache {
	b := f.b
	newest := b.view.Load()
	if newest == nil || v.validity != newest.validity || v.id != newest.id {
		return nil
	}
	b.cacheMu.Lock()
	defer b.cacheMu.Unlock()
	of := identity{v.id, v.validity}
	if b.cache != nil && b.cacheOf != of {
		b.cache.Close()
		b.cache = nil
	}
	if b.cache == nil && !f.closed.Load() {
		name := fmt.Sprintf("%s %d", v.MailboxID(), v.validity)
		b.cache, b.cacheOf = mailcache.Open(b.store.fs, b.path(cacheName), name, v.length), of
	}
	return b.cache
}

func (b *box) closeCache() {
	b.cacheMu.Lock()
	defer b.cacheMu.Unlock()
	if b.cache != nil {
		b.cache.Close()
		b.cache = nil
	}
}
