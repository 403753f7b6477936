package main

// shortHelp lists the short options. Letters that change nothing are not here;
// the page names them.
const shortHelp = `
  -t             take recipients from To, Cc and Bcc too
  -i, -oi        a line with a single dot does not end the letter
  -f, -r ADDRESS envelope sender; <> is the null one
  -F NAME        full name in a From field that is made
  -B TYPE        7BIT or 8BITMIME
  -G             complete nothing: the letter comes from another host
  -N WHEN        reports: never, or of success,failure,delay
  -R WHAT        what a report returns: full or hdrs
  -V ID          envelope ID of reports
  -U             the letter needs SMTPUTF8
  -C FILE        the same as --config
  -bm            submit a letter: the default
  -bs            speak SMTP on standard input and output
  -bp            print the queue: mailq
  -bP            print how many messages the queue has
  -bi, -I        check the aliases: newaliases
  -bv            tell where addresses lead to
  -bt            tell where the addresses on standard input lead to
  -bd, -bD       start smtpd, in the background or in this process's place
  -q[TIME]       make a pass over the queue, or one every TIME: runq
  -q[!]ITEXT     a pass over messages whose ID has TEXT in it (! has not);
                 S for the sender, R for the recipients
  -qf            with -qTIME: stay in the foreground
  -odq           queue only, start no attempt
  -oeq, -eq      print no errors
  -O NAME=VALUE  options of Sendmail: DeliveryMode, ErrorMode, IgnoreDots, SMTPUTF8
`
