// Package siem copies the ledger and the alerts to the systems that watch a company's
// security, in the words of OCSF 1.8.0 (https://schema.ocsf.io).
//
// Start with [New] and sinks: [NewFile], [NewSyslog], [NewHTTP]. The kernel's Run ships
// to each of them by itself, every leaf of the ledger once at least and in the order of
// the leaves; [Service.Statuses] says how far each is behind. A sink that hangs or fails
// holds up nobody but itself: records are committed without it, and it gets them later
// from its own durable cursor. [Service.Pause] and [Service.Resume] pass the guard.
//
// [Mapper] makes the events. The actor of an event is who really acted; whoever was
// represented stands under unmapped.subject. Personal values leave as the salted digests
// that the ledger has, never as text: what is erased here was never copied there. Events
// are written in ASCII, so that nothing in them can end a line or a frame.
//
// Errors: [governance.ErrNotFound], [governance.ErrConflict],
// [*governance.InvalidError], [*governance.DeniedError],
// [*governance.ApprovalRequiredError]. Tables: siem_sink, siem_alert. The API is stable
// from v1, the tables are not an API. A [Service] is safe for concurrent use.
package siem
