// Package integrations tells the systems around a product what happens to its
// tenants: webhooks, and the CRM, billing and ticketing connectors behind
// [connector.Connector]. It also answers a help desk's question about a tenant.
//
// Start with [New], then [Service.CreateTarget], and run [Service.Run] on every
// server. Events of the kernel are fanned out into deliveries, in lanes: one for each
// target and tenant, one call in flight in each, in order. A lane is claimed by a
// lease with a fence, so that several servers share the work. An attempt is written
// down before the call and completed after it; a crash between them repeats the call
// with the same idempotency id, so a receiver gets everything at least once.
//
// A webhook carries the event as it was ([Strict] or [Park]). A connector is given the
// current state of the tenant ([Coalesce]): of several changes that wait the newest
// wins, a version that was already told is not told again, and a replay never brings
// an old state back.
//
// Errors: [governance.ErrNotFound], [governance.ErrConflict],
// [governance.InvalidError], [governance.DeniedError]. Tables: integration_target,
// integration_message, integration_delivery, integration_attempt, integration_lane,
// integration_call. The API is stable from v1, the tables are not an API. A [Service]
// is safe for concurrent use.
package integrations
