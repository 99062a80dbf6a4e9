// Package pack is the form of an evidence pack, and how one is checked with nothing
// but the pack and the ledger's verification key. It knows no database, no kernel and
// no network, so an auditor's own program can link it.
//
// Start with [Verify]. A builder fills [Contents], makes a [Draft] of it, has the
// draft's digest put into the ledger, and writes the pack with the [Seal] it got.
//
// A pack is a zip file named *.evidence.zip whose bytes follow from its contents:
// entries are stored, not compressed, without dates, in the order of the manifest,
// with nothing before, between or behind them. So there is no byte that the manifest
// does not fix, and every changed one is found and named by the file it stands in.
//
//	manifest.json              what the pack is about, and the SHA-256 of every file
//	cover.html                 the same for people; it needs no server and no script
//	actions/ID/payload.json    what was asked for: its digest is the one that was voted on
//	actions/ID/action.json     how it went: state, clocks, preview, result
//	actions/ID/votes.json      who voted what, with the groups they were in then
//	policies/vVERSION-ID.json  the policies that decided
//	session/session.json       the impersonation session
//	session/requests.json      its requests, as the recording has them
//	recording/SEQ.ndjson       the recording's chunks
//	browser/SEQ.ndjson         what the browser told, when that was recorded as well
//	browser/index.json         which chunks of that there are
//	recording/index.json       which chunks there are, and which are left out and why
//	alerts.json                alerts with their deliveries and acknowledgements
//	personal.json              personal values of the records: disclosed, withheld, erased
//	records/ID.json            ledger records, byte for byte as they are leaves of the log
//	seal/record.json           the ledger record that says that this pack was built
//	seal/proofs.json           a path from every record to the checkpoint
//	seal/checkpoint            the log's signed head, with its cosignatures
//
// The manifest's content digest covers every file outside seal/, and stands in the
// record of seal/record.json. Whoever takes a file out and writes a new manifest has
// a pack that the log knows nothing of.
package pack
