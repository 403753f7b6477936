// Package mailbox keeps one folder of mail: letters as files in a Maildir, which
// any program may deliver to, rename in and remove from at any time, and a log
// that adds to them what IMAP and POP3 need.
//
// # Truth
//
// Content and system flags are in the files and their names. UIDs, modification
// sequences, keywords, expunges and object ids are in the log (package mboxlog).
// The log also holds debts: changes that clients have been told of and that
// names and files are yet to follow (debts.go). While a flags debt is open its
// delta applies to whatever flags the name has; without one the name wins, and
// gets a new modification sequence.
//
// # Guarantees
//
//   - What a View says, and what Store, Expunge, Commit, Copy and Move return,
//     survives kill -9 and a power cut at any later instant.
//   - A UID never names another letter, and never comes back, while UIDVALIDITY
//     stays; UIDVALIDITY and modification sequences only grow.
//   - A letter is taken for gone only when two scans have missed it, the second
//     with no change of the directories meanwhile. A letter is never shown
//     twice; two files of one base name become two letters.
//   - Any number of processes and sessions may use a folder at a time.
//
// # For CONDSTORE, QRESYNC, OBJECTID and SAVEDATE
//
// Each Letter of a View has its ModSeq; the View has HighestModSeq, ChangedSince
// and VanishedSince; Diff names every letter whose modseq has changed. Store
// takes UNCHANGEDSINCE. Letter.EmailID, Letter.Saved and View.MailboxID are what
// RFC 8474 and RFC 8514 ask for. Modseqs are below 1<<63 (RFC 7162 section 7).
//
// # Files in a folder
//
//	new/ cur/ tmp/       the Maildir
//	postbag.log          the log; its lock is the folder's lock
//	postbag.log.new      being made by a compaction; of no meaning
//	postbag.log.bad      a log that was found damaged, for people to look at
//	postbag.snap         what the log says up to some point, and the stamps of
//	                     new/ and cur/ then; can be deleted at any time
//	postbag.stamps       later stamps; can be deleted at any time
//	postbag.cache        what package mailcache remembers of letters; can be
//	                     deleted at any time
//	postbag.open         empty; whoever has the folder open has a shared lock on it
//	postbag.expunged/    MAILBOXID.UID: expunged letters that some session may
//	                     still read; swept when no session is left, and at 24 hours
//
// and at the root of the Maildir
//
//	postbag.uidvalidity  every UIDVALIDITY ever given in the tree, one a line
//
// # Goroutines
//
// A Store has one that reads inotify's events and one that ticks for folders
// that cannot be watched; neither ever waits for a folder. For a folder there is
// at most one that pays debts and one that looks for changes, each for as long
// as there is something to do, and one for a moment when folders that nobody has
// open have been in memory for long enough. Close waits for all of them.
package mailbox
