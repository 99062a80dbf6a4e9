package governance

import "context"

type identityKey struct{}

// WithIdentity puts the caller into ctx; the middleware that knows who is calling
// does so once per request. It is the only thing of ours that travels in a context.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom is the caller that [WithIdentity] put there. Without one it returns
// false and a zero Identity, which [Kernel.Authorize] refuses.
func IdentityFrom(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(Identity)
	return id, ok
}
