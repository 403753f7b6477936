// Package message reads and writes what surrounds the text of a letter: its
// header, its trace fields, its line ends, the fields a submission lacks, and
// the reports that are sent about it.
//
// Letters are streams: only the header is ever held in memory, and that up to
// a limit the caller gives. Nothing here refuses broken input. A field is any
// line that begins with a name and a colon, with the continuation lines that
// follow it; the first line that is neither ends the header and stays in the
// stream, so that header and rest together are the letter, octet for octet,
// apart from line ends.
//
// There are two forms of a letter. The wire form has CRLF at the end of each
// line, the disk form LF. [ToDisk] and [ToWire] change one to the other.
package message

// EnvelopeField is the name of the first field of every file in the queue,
// which carries the envelope. [Header.Escape] renames such a field of a
// letter that comes in, so that nobody can send us an envelope.
const EnvelopeField = "X-Postbag-Envelope"

// escapedField is what Escape makes of EnvelopeField.
const escapedField = "X-Original-Postbag-Envelope"

// MaxHops is how many Received fields a letter may have before it counts as
// caught in a loop. RFC 5321 section 6.3 asks for at least 100.
const MaxHops = 100
