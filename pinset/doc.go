// Package pinset decides which key a server may present to clients that pin.
//
// # The promise
//
// keepkey keeps one promise, and this package is what it rests on:
//
//	The key that a server presents is in every pin set that a client may still be enforcing.
//
// A [Pin] is the SHA-256 hash of a key's SubjectPublicKeyInfo, base64 when written out (RFC
// 7469 section 2.4). It depends on the public key alone, so it survives every renewal that
// keeps the key. A pin set ([Set]) is the list of pins that a client accepts for a host. It
// reaches clients through channels: a document that an app downloads, or pins compiled into
// a release of the app. A client that holds a pin set without the pin of the key that is
// served refuses to connect, and nothing that the server does can change its mind.
//
// # The ledger
//
// What clients may hold can't be asked; it has to be known. So every pin set ever published
// on a channel is in the append-only [Ledger], and a publication has two entries. The
// [Intent] is written before anything is sent out: from then on some client may hold the
// pin set. [Confirm] follows when it is certain that clients can get it. In between it may
// be out or not, and each possibility counts where it is the dangerous one: an unconfirmed
// pin set may be enforced, and supersedes nothing.
//
// A pin set may be enforced until one of these:
//
//   - A newer one was confirmed on the same channel, at every [Place] where this one was, and
//     the channel's cache and [Lifetime] have passed since: that is how long a client can
//     still be handed an older one, and how long it enforces what it got. If they were
//     changed, the longer ones count.
//   - It expired, if it carries an expiry that its clients honour.
//   - A person said that no supported client carries it any more ([Retire]). Where a
//     lifetime is forever nothing else ends it: pins compiled into an app are enforced for
//     as long as somebody runs that release.
//   - A person accepted that its clients are locked out ([Abandon]), because the key that
//     they accept is compromised or lost.
//
// One that clients were found to get again ([Seen]) counts again.
//
// Each line of the ledger carries the hash of the one before, and its [Head] is kept apart
// from it, so no change or loss goes unnoticed. A damaged ledger is an error, never a
// shorter ledger: what is missing might be the pin set that keeps the gate closed.
//
// # The gate
//
// [Ledger.Gate] says whether a key may be served at a time:
//
//	for every channel, for every pin set that may be enforced on it then: the key's pin is in it
//
// When the gate is closed, the [Verdict] names the pin sets that lack the key, says until
// when each may be enforced, and says when the gate opens by itself, or that a person has
// to do something first. The scenarios in testdata/gate tell what it says, and why.
//
// The package is pure: it reads no file, opens no connection and asks no clock.
package pinset
