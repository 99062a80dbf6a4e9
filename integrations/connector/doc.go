// Package connector is the contract between Reeve and a CRM, a billing system or a
// help desk. It needs the standard library alone: no gRPC, no database.
//
// An author implements [Connector] and those of the small interfaces the vendor can
// serve: [Upserter], [Reader], [Lists], [Tickets]. What is implemented is what is
// offered; [Capabilities] finds it once, and the plugin protocol carries the ids.
// plugins/serve turns a Connector into a program, plugins/host runs that program,
// and integrations/connectortest proves it.
//
// Three rules keep a vendor in line with us under retries, replays and crashes:
//
//   - Every record says whose it is, how old it is and which attempt family it
//     belongs to: [Meta]. A state older than the one held is skipped, never written:
//     [Judge] decides.
//   - A write may arrive any number of times; the second time changes nothing.
//   - An error says what it was: [Error]. A write that ended without an answer is
//     [Unknown], not failed.
//
// Errors: [Error], read with errors.AsType or [CodeOf]. The API is stable from v1.
package connector
