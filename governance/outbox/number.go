package outbox

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

type tenantRow struct {
	bun.BaseModel `bun:"table:gov_event_tenant"`

	Tenant  string `bun:"tenant,pk"`
	LastSeq int64  `bun:"last_seq"`
}

// number gives rows the next places, in the whole and among their tenants' events.
// Nobody else may do so before tx commits.
func number(ctx context.Context, tx *govdb.Tx, rows []*eventRow) error {
	var last int64
	if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(n), 0) FROM gov_event WHERE n IS NOT NULL").Scan(&last); err != nil {
		return fmt.Errorf("last number: %w", err)
	}
	seqs, err := tenantSeqs(ctx, tx, rows)
	if err != nil {
		return err
	}
	for _, row := range rows {
		last++
		n := last
		row.N = &n
		if row.Tenant != "" {
			seqs[row.Tenant]++
			seq := seqs[row.Tenant]
			row.TenantSeq = &seq
		}
	}
	return storeSeqs(ctx, tx, seqs)
}

func tenantSeqs(ctx context.Context, tx *govdb.Tx, rows []*eventRow) (map[string]int64, error) {
	seqs := map[string]int64{}
	for _, row := range rows {
		if row.Tenant != "" {
			seqs[row.Tenant] = 0
		}
	}
	if len(seqs) == 0 {
		return seqs, nil
	}
	tenants := make([]string, 0, len(seqs))
	for t := range seqs {
		tenants = append(tenants, t)
	}
	var have []tenantRow
	if err := tx.NewRaw("SELECT tenant, last_seq FROM gov_event_tenant WHERE tenant IN (?)", bun.List(tenants)).Scan(ctx, &have); err != nil {
		return nil, fmt.Errorf("last numbers of tenants: %w", err)
	}
	for _, h := range have {
		seqs[h.Tenant] = h.LastSeq
	}
	return seqs, nil
}

func storeSeqs(ctx context.Context, tx *govdb.Tx, seqs map[string]int64) error {
	if len(seqs) == 0 {
		return nil
	}
	const upsert = "INSERT INTO gov_event_tenant (tenant, last_seq) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET last_seq = EXCLUDED.last_seq"
	if !tx.DB().Postgres() {
		args := make([][]any, 0, len(seqs))
		for t, s := range seqs {
			args = append(args, []any{t, s})
		}
		if err := tx.ExecAll(ctx, upsert, args...); err != nil {
			return fmt.Errorf("last numbers of tenants: %w", err)
		}
		return nil
	}
	ts := make([]tenantRow, 0, len(seqs))
	for t, s := range seqs {
		ts = append(ts, tenantRow{Tenant: t, LastSeq: s})
	}
	if _, err := tx.NewInsert().Model(&ts).On("CONFLICT (tenant) DO UPDATE").Set("last_seq = EXCLUDED.last_seq").Exec(ctx); err != nil {
		return fmt.Errorf("last numbers of tenants: %w", err)
	}
	return nil
}

// place writes the numbers of rows that are stored without: in one statement where
// each costs a round trip.
func place(ctx context.Context, tx *govdb.Tx, rows []*eventRow) error {
	if tx.DB().Postgres() {
		values := tx.NewValues(&rows).Column("id", "n", "tenant_seq")
		_, err := tx.NewUpdate().With("_data", values).Model((*eventRow)(nil)).TableExpr("_data").
			Set("n = _data.n").Set("tenant_seq = _data.tenant_seq").Where("event_row.id = _data.id").Exec(ctx)
		return err
	}
	args := make([][]any, len(rows))
	for i, row := range rows {
		args[i] = []any{row.N, row.TenantSeq, row.ID}
	}
	return tx.ExecAll(ctx, "UPDATE gov_event SET n = ?, tenant_seq = ? WHERE id = ?", args...)
}
