package imapsrv

import "strings"

// A brokenLetter is one of which ENVELOPE, BODYSTRUCTURE and each section are
// compared with what Dovecot says.
type brokenLetter struct {
	what, text string
	why        string // we differ; "" where we must not
}

var brokenLetters = []brokenLetter{
	{"no colon in header", "Subject x\nFrom: a@b\n\nbody\n", ""},
	{"space before colon", "Subject : x\nFrom : a <a@b>\n\nbody\n", ""},
	{"header only", "Subject: x\n", "a header without an empty line has one in HEADER.FIELDS.NOT, as in HEADER.FIELDS"},
	{"empty header", "\nbody\n", ""},
	{"no newline at all", "x", "a header without an empty line has one in HEADER.FIELDS.NOT, as in HEADER.FIELDS"},
	{"no body, blank", "Subject: x\n\n", ""},
	{"body without last newline", "Subject: x\n\nabc", ""},
	{"folded subject, tabs", "Subject: a\n\tb\n  c\n\nx\n", "unfolding takes the line ends only (RFC 5322 section 2.2.3)"},
	{"folded with blank only", "Subject: a\n \n b\n\nx\n", "unfolding takes the line ends only (RFC 5322 section 2.2.3)"},
	{"continuation first", " continuation\nSubject: x\n\ny\n", "what is no field is no field that HEADER.FIELDS.NOT could name"},
	{"two subjects", "Subject: a\nSubject: b\nFrom: a@b\nFrom: c@d\nTo: a@b\nTo: c@d\n\nx\n", "the first of two fields counts"},
	{"8bit subject", "Subject: gr\xfc\xdfe\n\nx\n", ""},
	{"group", "From: a@b\nTo: friends: a@b, \"C\" <c@d>;, e@f\nCc: empty:;\n\nx\n", ""},
	{"no domain", "From: root\nTo: joe, \"J\" <joe>\n\nx\n", "an address without a domain has an empty one, not one that looks real"},
	{"comment address", "From: a@b (Joe (nested) Doe)\nTo: (c) x (d) @ y (e)\n\nx\n", ""},
	{"unclosed quote", "From: \"Joe <a@b>\nTo: a@b\n\nx\n", "what cannot be read is shown"},
	{"unclosed angle", "From: Joe <a@b\nTo: <a@b\n\nx\n", "what can be read is shown"},
	{"route", "From: <@x,@y:a@b>\n\nx\n", ""},
	{"dots in name", "From: J. R. Smith <j@x>\nTo: a.b. <c@d>\n\nx\n", ""},
	{"empty address", "From: <>\nTo: ,,a@b,,\nCc: \n\nx\n", "an empty member of a list is none"},
	{"semicolons", "To: a@b; c@d; e@f\n\nx\n", "addresses apart by semicolons are addresses"},
	{"at in display", "From: a@b <c@d>\nTo: a@b c@d\n\nx\n", "addresses without a comma are addresses"},
	{"escaped", "From: \"J \\\"x\\\\ y\" <a@b>\nTo: \"a b\"@c\n\nx\n", ""},
	{"literal domain", "From: a@[1.2.3.4]\n\nx\n", ""},
	{"8bit name", "From: J\xf6 <a@b>\n\nx\n", ""},
	{"msgids", "Message-ID: <a@b> junk\nIn-Reply-To: <x@y> <z@w>\nReferences: <1@2>\n\nx\n", ""},
	{"msgid broken", "Message-ID: a@b\nIn-Reply-To: your mail of\n <x@\n y>\n\nx\n", ""},
	{"reply-to empty", "From: a@b\nReply-To: \nSender: \n\nx\n", ""},
	{"date odd", "Date:   Thu,  1 Jan\n 2026 10:00:00 +0000 (x)\n\nx\n", ""},
	{"no boundary", "Content-Type: multipart/mixed\n\n--b\n\nx\n--b--\n", "the text of a multipart without parts can be read"},
	{"boundary never", "Content-Type: multipart/mixed; boundary=b\n\nno parts here\n", "the text of a multipart without parts can be read"},
	{"no end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\nContent-Type: text/html\n\ny\n", ""},
	{"end at once", "Content-Type: multipart/mixed; boundary=b\n\n--b--\n", "the text of a multipart without parts can be read"},
	{"empty parts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b\n\n\n--b--\n", "the empty line of a header is the header's, though a delimiter follows it"},
	{"part header only", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\nContent-Type: text/plain\n\n--b--\n", "the line end of a header's last field is the field's, though a delimiter follows it"},
	{"epilogue", "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\nx\n--b--\nepi\nlogue\n", ""},
	{"boundary prefix", "Content-Type: multipart/mixed; boundary=b\n\n--bb\n\nx\n--b\n\ny\n--b x\n\nz\n--b--\n", ""},
	{"boundary prefix of inner", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=bb\n\n--bb\n\nx\n--bb--\n--b--\n", "the line end before a delimiter belongs to it (RFC 2046 section 5.1.1)"},
	{"same boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--\n", "the line end before a delimiter belongs to it (RFC 2046 section 5.1.1)"},
	{"inner unclosed", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\nx\n--b\n\ny\n--b--\n", ""},
	{"trailing space boundary", "Content-Type: multipart/mixed; boundary=\"b\"\n\n--b  \n\nx\n--b--  \n", ""},
	{"boundary with space", "Content-Type: multipart/mixed; boundary=\"a b \"\n\n--a b \n\nx\n--a b --\n", ""},
	{"boundary quotes", "Content-Type: multipart/mixed; boundary=\"a\\\"b\"\n\n--a\"b\n\nx\n--a\"b--\n", ""},
	{"after end another", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--\n", ""},
	{"rfc822", "Content-Type: message/rfc822\n\nSubject: in\nFrom: a@b\n\nbody\n", ""},
	{"rfc822 multipart", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nSubject: in\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n--b--\n", "the line end before a delimiter belongs to it (RFC 2046 section 5.1.1)"},
	{"rfc822 empty", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n--b--\n", "the empty line of a header is the header's, though a delimiter follows it"},
	{"rfc822 base64", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAoKeQo=\n", "what has parts has no encoding (RFC 2045 section 6.4)"},
	{"global", "Content-Type: message/global\n\nSubject: in\n\nbody\n", "a message/global is a message (RFC 9051 section 7.5.2)"},
	{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nbody\n--b\nContent-Type: text/plain\n\nx\n--b--\n", ""},
	{"partial", "Content-Type: message/partial; id=x; number=1\n\nSubject: in\n\nbody\n", ""},
	{"type only", "Content-Type: text\n\nx\n", "a type that cannot be read is text/plain (RFC 2045 section 5.2)"},
	{"type slash", "Content-Type: text/\n\nx\n", "a type that cannot be read is text/plain (RFC 2045 section 5.2)"},
	{"type junk", "Content-Type: ;;; charset=x\n\nx\n", "a type that cannot be read is text/plain (RFC 2045 section 5.2)"},
	{"type upper", "Content-Type: TEXT/HTML; CHARSET=UTF-8\n\nx\n", ""},
	{"type spaces", "Content-Type: text / html ; charset = utf-8\n\nx\n", ""},
	{"type comment", "Content-Type: text/html (c) ; charset=utf-8 (d)\n\nx\n", ""},
	{"param no value", "Content-Type: text/plain; charset; format=flowed\n\nx\n", "parameters that can be read are shown"},
	{"param junk", "Content-Type: text/plain; charset=\"utf-8; format=flowed\n\nx\n", "parameters that can be read are shown"},
	{"param missing semicolon", "Content-Type: text/plain; charset=utf-8 format=flowed\n\nx\n", "parameters that can be read are shown"},
	{"param dup", "Content-Type: text/plain; charset=a; charset=b\n\nx\n", ""},
	{"param 2231", "Content-Type: application/x; name*=utf-8''a%20b; title*0=\"x\"; title*1=\"y\"\n\nx\n", ""},
	{"param 2231 encoded", "Content-Type: application/x; name*0*=utf-8''a%20; name*1*=b; x=y; t*1=q; t*0*=us-ascii''z\nContent-Disposition: attachment; filename*0=\"a\"; filename*1=\"b c\"; filename*3=d\n\nx\n", "joined pieces stand where the first one stood"},
	{"param 8bit", "Content-Type: application/x; name=\"gr\xfc\xdfe\"\n\nx\n", ""},
	{"param encoded", "Content-Type: application/x; name=\"=?utf-8?q?x?=\"\n\nx\n", ""},
	{"param unquoted special", "Content-Type: application/x; name=a/b@c.d\n\nx\n", "a value is what stands there, quotes or not"},
	{"two types", "Content-Type: text/html\nContent-Type: text/plain\n\nx\n", ""},
	{"type empty", "Content-Type:\n\nx\n", "a type that cannot be read is text/plain (RFC 2045 section 5.2)"},
	{"disposition", "Content-Type: image/x\nContent-Disposition: attachment; filename=\"a b.x\"; size=3\nContent-Language: en, de\nContent-Location: http://x\nContent-MD5: abc\nContent-ID: <x@y>\nContent-Description: d\n\nx\n", ""},
	{"disposition junk", "Content-Disposition: ; filename=x\n\nx\n", ""},
	{"disposition comment", "Content-Disposition: inline (c); filename=(c)x\n\nx\n", "comments are no part of a value (RFC 2045 section 5.1)"},
	{"language junk", "Content-Language: en;de, fr (x)\n\nx\n", "tags that are none are shown"},
	{"encoding junk", "Content-Transfer-Encoding: quoted printable\n\nx\n", "of an encoding of two words the first is shown"},
	{"encoding comment", "Content-Transfer-Encoding: base64 (x)\n\nx\n", "comments are no part of a value (RFC 2045 section 5.1)"},
	{"encoding quoted", "Content-Transfer-Encoding: \"7bit\"\n\nx\n", ""},
	{"id junk", "Content-ID: x y\nContent-Description:  two\n words \n\nx\n", "an id that is none is shown, and does not hide other fields"},
	{"deep", deepLetter(), ""},
	{"mime no version", "Content-Type: text/html; charset=x\nContent-Transfer-Encoding: 8bit\n\nx\n", ""},
	{"header in the body", "Subject: x\n\n\nContent-Type: text/html\n\nx\n", ""},
	{"nested message digest", "Content-Type: multipart/digest; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n--b--\n", "the line end before a delimiter belongs to it (RFC 2046 section 5.1.1)"},
	{"multipart b64", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\nx\n--b--\n", ""},
	{"multipart params", "Content-Type: multipart/related; type=\"text/html\"; boundary=b; start=\"<a>\"\nContent-Disposition: inline\nContent-Language: en\nContent-Location: x\n\n--b\n\nx\n--b--\n", ""},
	{"boundary missing newline", "Content-Type: multipart/mixed; boundary=b\n--b\n\nx\n--b--\n", "the text of a multipart without parts can be read"},
	{"long line", "Subject: " + strings.Repeat("x", 900) + "\n\n" + strings.Repeat("y", 3000) + "\n", ""},
}

// deepLetter has multiparts in multiparts, and no end.
func deepLetter() string {
	text := "Subject: deep\n"
	for i := range 20 {
		b := string(rune('a' + i))
		text += "Content-Type: multipart/mixed; boundary=" + b + "\n\n--" + b + "\n"
	}
	return text + "\nx\n"
}

// Fragments of letters that are put together at random.
var (
	headLines = []string{
		"Subject: s\n", "From: A <a@b>\n", "To: x@y, z@z\n", "Content-Type: text/plain; charset=utf-8\n", "Content-Type: text/html\n",
		"Content-Type: multipart/mixed; boundary=b\n", "Content-Type: multipart/alternative; boundary=\"c\"\n", "Content-Type: message/rfc822\n",
		"Content-Type: multipart/digest; boundary=d\n", "Content-Transfer-Encoding: base64\n", "Content-Disposition: attachment; filename=x\n",
		"junk\n", "Content-Type: application/x; name=\"y\"\n", "Content-Description: x\n",
	}
	bodyLines = []string{"\n", "text\n", "--b\n", "--c\n", "--d\n", "--b--\n", "--c--\n", "--d--\n", "--bb\n", "\n\n", "text"}
)
