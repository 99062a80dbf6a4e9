// Package outgoing makes the HTTP client for everything that calls an address
// which somebody configured: webhooks, notifiers, connectors.
//
// Start with [New]. The client checks the address that is dialled, after the name
// was resolved, so that neither DNS nor a redirect leads it into the network it
// runs in: loopback, private, link-local and metadata addresses are refused unless
// [Options.Allow] names them, and only the ports in [Options.Ports] are dialled. It
// uses no proxy from the environment, follows no redirect (a 3xx comes back as it
// is), ends every exchange by a deadline and cuts a response body at a limit.
// [Dialer] is the same guard for other protocols.
//
// Errors: [ErrProhibited], [ErrTooLarge]. No tables, no metrics. What New returns is
// safe for concurrent use.
package outgoing
