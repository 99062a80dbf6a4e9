package analytics

import (
	"context"
	"fmt"

	"github.com/reevehq/reeve/governance"
)

// IngestTx is Ingest inside the caller's transaction, for a host that tells a fact in
// the commit that makes it true. It checks no permission: what the host does in its
// own transaction it has decided itself.
func (s *Service) IngestTx(ctx context.Context, tx *governance.Tx, id governance.Identity, facts []Fact, opts *IngestOptions) error {
	var o IngestOptions
	if opts != nil {
		o = *opts
	}
	if o.Place == nil {
		o.Place = func(i int, field string) string { return fmt.Sprintf("facts[%d].%s", i, field) }
	}
	in, err := s.prepare(facts, o)
	if err != nil {
		return err
	}
	if _, err := s.ingestTx(ctx, tx, id, in, len(facts), o); err != nil {
		return fmt.Errorf("ingest %d facts: %w", len(facts), err)
	}
	return nil
}
