package browserrec

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
)

// records lists what the ledger says of a session.
func (s *Service) records(ctx context.Context, have oversight.Session) ([]anchor, error) {
	var out []anchor
	f := ledger.Filter{Tenant: string(have.Tenant), Search: have.ID.String(), Limit: 200}
	for {
		page, err := s.k.Ledger().Records(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			a := anchor{id: r.ID}
			if err := json.Unmarshal(r.Body, &a); err != nil {
				return nil, fmt.Errorf("record %s: %w", r.ID, err)
			}
			if a.Session == have.ID.String() {
				out = append(out, a)
			}
		}
		if len(page) < int(f.Limit) {
			return out, nil
		}
		f.Before = page[len(page)-1].ID
	}
}
