// Package browserrec records what happens in the browser while somebody works as a
// customer: the page as it changes, pointer, scrolling, which fields are filled. It
// stands beside package recorder, never in its place: a browser can be made to say
// anything, so what it reports is an illustration, and what the server recorded is the
// evidence.
//
// The script that records is rrweb's, from a folder into which the operator installed
// it ([OpenKit]); this package has none of it. Start with [New], put
// [Service.Script] into the product's pages and [Service.Handler] beside them. What
// arrives is decoded into known kinds of event, checked and masked again, numbered,
// chained and anchored in the ledger while the session runs. [Service.Replay] lays it
// beside the ledger, [Service.Page] draws a page at a moment, without any script.
//
// Errors: [governance.ErrNotFound], [governance.ErrConflict], [governance.InvalidError], [ErrRate].
// Tables: browserrec_page, browserrec_chunk, browserrec_kit; chunks are in the
// recorder's blob store. A [Service] is safe for concurrent use.
package browserrec
