// Package offline checks a log from outside: an exported folder, an address that
// serves one, or a single proof, with nothing but the log's verification key. It
// needs no database and links no kernel.
//
// Start with [Check] on a [Dir] or a [URL], or with [VerifyProof].
//
// What is read is a C2SP tlog-tiles log: checkpoint, tile/<L>/<N>[.p/<W>] and
// tile/entries/<N>[.p/<W>]. An export has one file more, [ManifestFile], which names
// every file with its hash, so that no byte of the folder can change unseen.
//
// Errors: [ErrBadProof]. Safe for concurrent use.
package offline
