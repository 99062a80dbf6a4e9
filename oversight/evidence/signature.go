package evidence

import (
	"context"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// signature adds what a voter signed, and the records about the key.
func (g *gathering) signature(ctx context.Context, out *pack.Action, record string, s governance.VoteSignature) error {
	out.Signatures = append(out.Signatures, pack.Signature{Record: record, Signed: pack.Assertion(s)})
	return g.search(ctx, s.Key, true)
}
