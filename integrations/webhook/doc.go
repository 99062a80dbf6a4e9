// Package webhook signs, verifies and sends webhooks after the Standard Webhooks
// specification 1.0: headers webhook-id, webhook-timestamp and webhook-signature
// over "id.timestamp.body".
//
// Start with [NewSecret] and [Sign]; a receiver calls [Verify]. Signatures are v1
// (HMAC-SHA256, secret "whsec_…") and v1a (Ed25519, keys "whsk_…" and "whpk_…").
// Several keys at once are a rotation: the sender signs with all of them, the
// receiver accepts any it knows. A [Sender] posts a signed message once, follows no
// redirect and reads little of the answer.
//
// Errors: [ErrSignature], [ErrTimestamp]. No tables. Safe for concurrent use.
package webhook
