// Package govapi puts the kernel on a huma API that the host already has, and gives
// every capability's …api package the same front door.
//
// Start with [New], then [Register] for a plain operation and [Guarded] or
// [GuardedResult] for one that runs a governance.Action: 200 when it was done, 202
// with the approval's address when it is held, 403 when it is denied. [Kernel]
// registers the kernel's own operations.
//
// Every operation names the permission of its caller, who comes from
// [governance.IdentityFrom]; without one the answer is 401, before the body is read.
// Unknown query parameters, unknown fields and U+0000 are refused. Errors are
// RFC 9457 problems with a stable type; texts of drivers and values that were sent
// never come back. Nothing process-wide of huma is changed: a host's own operations
// keep their own errors.
package govapi
