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

type breakGlassKey struct{}

// WithBreakGlass makes every act in ctx ask for what [DoOptions].BreakGlass asks for.
// The host's door sets it when the caller said so.
func WithBreakGlass(ctx context.Context) context.Context {
	return context.WithValue(ctx, breakGlassKey{}, true)
}

func breaksGlass(ctx context.Context) bool {
	on, _ := ctx.Value(breakGlassKey{}).(bool)
	return on
}
