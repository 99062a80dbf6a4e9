// Package host runs connector plugins: one process each, started from a private copy
// whose SHA-256 was checked, with an environment of its own, watched by health
// probes, restarted with back-off and quarantined when it keeps dying.
//
// Start with [New], then [Host.Add] one [Spec] for each connector. [Host.Connector]
// gives a connector.Connector that implements exactly the optional interfaces the
// plugin offers and survives restarts: a call that finds no process ends with
// connector.Unavailable, one whose process dies under it with connector.Other, because
// nobody knows what it had done by then. [Host.Close] leaves no process behind; if the
// host itself is killed, the plugins end with it.
//
// Settings and secrets reach a plugin by Configure alone, never by environment or
// arguments, and are cut out of its log lines and error texts.
//
// On Linux a plugin gets its own process group, which ends as one, and the kernel ends
// it with the host. Elsewhere a plugin ends with the host because its stdin closes, and
// programs that it started are its own concern.
//
// Errors: connector.Error. Tables: none. Metrics: none; see [Host.Status].
package host
