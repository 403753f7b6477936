package imapsrv

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"postbag/internal/imapwire"
	"postbag/internal/mime"
)

const (
	maxPreview  = 200       // characters (RFC 8970 section 3.1)
	previewRead = 256 << 10 // octets of a part that are looked at
)

// addPreview writes the beginning of a letter's text.
func (f *fetching) addPreview() error {
	root, err := f.source.structure()
	if err != nil {
		return err
	}
	text := ""
	if p := readable(root); p != nil {
		body, err := f.source.slice(p.BodyOffset, p.BodySize)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(p.Text(body), previewRead))
		if err != nil {
			return err
		}
		if text = string(b); p.Is("text", "html") {
			text = withoutTags(text)
		}
	}
	f.name("PREVIEW")
	f.b = imapwire.AppendString(f.b, shorten(text), f.utf8)
	return nil
}

// readable finds the text that a person would read first: plain text if there is
// one beside the other form.
func readable(p *mime.Part) *mime.Part {
	if p.Message != nil {
		return readable(p.Message)
	}
	var best *mime.Part
	for _, c := range p.Children {
		found := readable(c)
		if found != nil && (best == nil || found.Is("text", "plain") && !best.Is("text", "plain")) {
			best = found
		}
		if best != nil && !p.Is("multipart", "alternative") {
			return best
		}
	}
	if best == nil && p.Is("text", "*") && !strings.EqualFold(p.Disposition, "attachment") {
		return p
	}
	return best
}

// shorten brings white space down to single blanks, and cuts.
func shorten(s string) string {
	var b strings.Builder
	n, blank := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError {
			blank = b.Len() > 0
			continue
		}
		if blank && n+1 < maxPreview {
			b.WriteByte(' ')
			n++
		}
		blank = false
		if n == maxPreview {
			break
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// entities are those that stand in almost all text.
var entities = strings.NewReplacer("&nbsp;", " ", "&lt;", "<", "&gt;", ">", "&quot;", `"`, "&#39;", "'", "&amp;", "&")

// withoutTags takes HTML for text: tags, styles and scripts away.
func withoutTags(s string) string {
	var b strings.Builder
	lower := strings.ToLower(s)
	if len(lower) != len(s) {
		lower = s // a character changed its length
	}
	for at := 0; at < len(s); {
		open := strings.IndexByte(s[at:], '<')
		if open < 0 {
			b.WriteString(s[at:])
			break
		}
		b.WriteString(s[at : at+open])
		b.WriteByte(' ')
		at = endOfTag(lower, at+open)
	}
	return entities.Replace(b.String())
}

// endOfTag gives the place behind a tag, for those that hold no text behind their
// end.
func endOfTag(s string, at int) int {
	end := ">"
	for begin, until := range map[string]string{"<style": "</style>", "<script": "</script>", "<title": "</title>", "<!--": "-->"} {
		if strings.HasPrefix(s[at:], begin) {
			end = until
		}
	}
	n := strings.Index(s[at:], end)
	if n < 0 {
		return len(s)
	}
	return at + n + len(end)
}
