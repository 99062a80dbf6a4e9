package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// TenantProof shows that its records are all those of a tenant between two
// checkpoints; see [VerifyTenant].
type TenantProof = offline.TenantProof

// TenantState is a signed head with the proof of what it says of one tenant.
type TenantState = offline.TenantState

// VerifyTenant checks a TenantProof with nothing but the log's verification key.
func VerifyTenant(vkey string, p TenantProof) error { return offline.VerifyTenant(vkey, p) }

type tenantHeadRow struct {
	bun.BaseModel `bun:"table:gov_tenant_head"`

	Tenant string `bun:"tenant,pk"`
	Seq    int64  `bun:"seq"`
	N      int64  `bun:"n"`
	Chain  []byte `bun:"chain"`
}

// tenants is every tenant's sequence up to covered leaves. The leader keeps it between
// seals; without it, it is read from its table, which holds nothing that the records
// do not say.
type tenants struct {
	covered int64
	heads   map[string]offline.TenantHead
	all     *offline.TenantMap
}

// catchUp is how many leaves one seal adds to the sequences at most. A log that is
// older than them is caught up with over several seals, whose checkpoints say nothing
// of tenants.
const catchUp = 50_000

type placed struct {
	N      int64
	Tenant string
	leaf   tlog.Hash
}

// advance takes the sequences on towards size leaves. rows are the newest of them, when
// the caller has them at hand.
func (t *tenants) advance(ctx context.Context, tx *govdb.Tx, tree *hashes, size, most int64, rows []*recordRow) error {
	if t.all == nil {
		if err := t.load(ctx, tx); err != nil {
			return err
		}
	}
	if t.covered > size {
		return fmt.Errorf("the tenants' sequences cover %d leaves, there are %d: %w", t.covered, size, ErrForked)
	}
	var next []placed
	if n := int64(len(rows)); n > 0 && n <= most && t.covered == size-n {
		for _, r := range rows {
			next = append(next, placed{*r.N, r.Tenant, tree.fresh[tlog.StoredHashIndex(0, *r.N)]})
		}
	} else {
		var err error
		if next, err = readPlaced(ctx, tx, t.covered, min(size, t.covered+most)); err != nil {
			return err
		}
	}
	changed := map[string]bool{}
	for _, p := range next {
		h, ok := t.heads[p.Tenant]
		if !ok {
			h = offline.TenantHead{Tenant: p.Tenant, N: -1}
		}
		h.Add(p.N, p.leaf)
		t.heads[p.Tenant] = h
		changed[p.Tenant] = true
	}
	t.covered += int64(len(next))
	heads := make([]offline.TenantHead, 0, len(changed))
	stored := make([]*tenantHeadRow, 0, len(changed))
	for tenant := range changed {
		h := t.heads[tenant]
		heads = append(heads, h)
		stored = append(stored, &tenantHeadRow{Tenant: h.Tenant, Seq: h.Seq, N: h.N, Chain: h.Chain[:]})
	}
	t.all.Set(heads...)
	slices.SortFunc(stored, func(a, b *tenantHeadRow) int { return strings.Compare(a.Tenant, b.Tenant) })
	for part := range slices.Chunk(stored, 500) {
		_, err := tx.NewInsert().Model(&part).On("CONFLICT (tenant) DO UPDATE").
			Set("seq = EXCLUDED.seq").Set("n = EXCLUDED.n").Set("chain = EXCLUDED.chain").Exec(ctx)
		if err != nil {
			return fmt.Errorf("sequences of %d tenants: %w", len(part), err)
		}
	}
	return nil
}

func (t *tenants) load(ctx context.Context, tx bun.IDB) error {
	var rows []tenantHeadRow
	if err := tx.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return fmt.Errorf("sequences of tenants: %w", err)
	}
	t.covered, t.heads = 0, make(map[string]offline.TenantHead, len(rows))
	all := make([]offline.TenantHead, 0, len(rows))
	for _, r := range rows {
		if len(r.Chain) != tlog.HashSize {
			return fmt.Errorf("sequence of tenant %q: its chain has %d bytes", r.Tenant, len(r.Chain))
		}
		h := offline.TenantHead{Tenant: r.Tenant, Seq: r.Seq, N: r.N, Chain: tlog.Hash(r.Chain)}
		t.heads[r.Tenant] = h
		t.covered = max(t.covered, r.N+1) // each leaf is of some tenant, if only of the empty one
		all = append(all, h)
	}
	t.all = offline.NewTenantMap(all...)
	return nil
}

// readPlaced reads the leaves from up to to with their tenants.
func readPlaced(ctx context.Context, tx bun.IDB, from, to int64) ([]placed, error) {
	var out []placed
	if err := tx.NewRaw("SELECT n, tenant FROM gov_record WHERE n >= ? AND n < ? ORDER BY n", from, to).Scan(ctx, &out); err != nil {
		return nil, fmt.Errorf("leaves from %d: %w", from, err)
	}
	if int64(len(out)) != to-from {
		return nil, fmt.Errorf("%d leaves from %d to %d: %w", len(out), from, to, ErrForked)
	}
	leaves, err := readLeaves(ctx, tx, from, to)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].leaf = leaves[i]
	}
	return out, nil
}

// readLeaves reads the leaf hashes from up to to from the runs they stand in.
func readLeaves(ctx context.Context, tx bun.IDB, from, to int64) ([]tlog.Hash, error) {
	if from >= to {
		return nil, nil
	}
	var runs []hashRunRow
	first, end := tlog.StoredHashIndex(0, from), tlog.StoredHashIndex(0, to-1)+1
	if err := tx.NewSelect().Model(&runs).Where("first >= COALESCE((SELECT MAX(first) FROM gov_hash_run WHERE first <= ?), 0) AND first < ?", first, end).
		Order("first").Scan(ctx); err != nil {
		return nil, fmt.Errorf("hashes of leaves from %d: %w", from, err)
	}
	out := make([]tlog.Hash, 0, to-from)
	for _, run := range runs {
		for int64(len(out)) < to-from {
			at := tlog.StoredHashIndex(0, from+int64(len(out))) - run.First
			if at < 0 || (at+1)*tlog.HashSize > int64(len(run.Hashes)) {
				break
			}
			out = append(out, tlog.Hash(run.Hashes[at*tlog.HashSize:]))
		}
	}
	if int64(len(out)) != to-from {
		return nil, fmt.Errorf("hash of leaf %d is missing: %w", from+int64(len(out)), ErrForked)
	}
	return out, nil
}

// ProveTenant proves that the records it lists are all those of a tenant after the
// checkpoint of size from, 0 for the beginning, up to the newest one. It reads the
// places of the whole log.
func (l *Log) ProveTenant(ctx context.Context, tenant string, from int64) (TenantProof, error) {
	p := TenantProof{Tenant: tenant, Records: []Proof{}}
	to, err := l.Checkpoint(ctx)
	if err != nil {
		return p, err
	}
	var before checkpointRow
	if from > 0 {
		var rows []checkpointRow
		if err := l.db.Read().NewSelect().Model(&rows).Where("size = ?", from).Scan(ctx); err != nil {
			return p, fmt.Errorf("checkpoint of %d: %w", from, err)
		}
		if len(rows) == 0 {
			return p, fmt.Errorf("checkpoint of %d: %w", from, ErrNotFound)
		}
		before = rows[0]
	}
	heads := map[string]offline.TenantHead{}
	state := func(checkpoint string) offline.TenantState {
		all := make([]offline.TenantHead, 0, len(heads))
		for _, h := range heads {
			all = append(all, h)
		}
		var head *offline.TenantHead
		if h, ok := heads[tenant]; ok {
			head = &h
		}
		return offline.NewTenantMap(all...).State(checkpoint, tenant, head)
	}
	for at := int64(0); ; {
		if from > 0 && at == from {
			st := state(before.Note)
			p.From = &st
		}
		if at == to.Size {
			break
		}
		end := min(at+catchUp, to.Size)
		if at < from {
			end = min(end, from)
		}
		part, err := readPlaced(ctx, l.db.Read(), at, end)
		if err != nil {
			return p, err
		}
		for _, r := range part {
			h, ok := heads[r.Tenant]
			if !ok {
				h = offline.TenantHead{Tenant: r.Tenant, N: -1}
			}
			h.Add(r.N, r.leaf)
			heads[r.Tenant] = h
		}
		at = end
	}
	p.To = state(to.Note)
	keys, err := l.Keys(ctx)
	if err != nil {
		return p, err
	}
	p.Keys = string(keys)
	return p, l.tenantRecords(ctx, &p, from, to.Size)
}

func (l *Log) tenantRecords(ctx context.Context, p *TenantProof, from, to int64) error {
	tree := newHashes(ctx, l.db.Read())
	for last := from - 1; ; {
		var rows []recordRow
		err := l.db.Read().NewSelect().Model(&rows).Where("tenant = ? AND n > ? AND n < ?", p.Tenant, last, to).Order("n").Limit(1000).Scan(ctx)
		if err != nil {
			return fmt.Errorf("records of %q: %w", p.Tenant, err)
		}
		for _, r := range rows {
			proof, err := provePath(tree, to, *r.N)
			if err != nil {
				return fmt.Errorf("prove %s: %w", r.ID, err)
			}
			proof.Body = r.Body
			p.Records = append(p.Records, proof)
			last = *r.N
		}
		if len(rows) < 1000 {
			return nil
		}
	}
}

// follow adds a record to its tenant's sequence.
func (v *verification) follow(tenant string, n int64, leaf tlog.Hash) {
	h := v.heads[tenant]
	if h == nil {
		h = &offline.TenantHead{Tenant: tenant, N: -1}
		v.heads[tenant] = h
	}
	h.Add(n, leaf)
	v.changed[tenant] = true
}

// sequences compares the tenants' sequences with what a checkpoint signed of them.
func (v *verification) sequences(c checkpointRow, head offline.Head) {
	if len(head.Extension) == 0 {
		return
	}
	if v.tenants == nil {
		v.tenants = offline.NewTenantMap()
	}
	heads := make([]offline.TenantHead, 0, len(v.changed))
	for tenant := range v.changed {
		heads = append(heads, *v.heads[tenant])
	}
	clear(v.changed)
	v.tenants.Set(heads...)
	if !slices.Contains(head.Extension, v.tenants.Extension()) {
		v.problem("checkpoint of %d signs other sequences of the tenants than its records have", c.Size)
	}
}

// storedSequences compares the table that the leader goes on from with the records.
func (v *verification) storedSequences(ctx context.Context, tx bun.IDB) error {
	var rows []tenantHeadRow
	if err := tx.NewSelect().Model(&rows).Scan(ctx); err != nil {
		return fmt.Errorf("verify: sequences of tenants: %w", err)
	}
	for _, r := range rows {
		h := v.heads[r.Tenant]
		if h != nil && h.N == r.N && (h.Seq != r.Seq || string(h.Chain[:]) != string(r.Chain)) {
			v.problem("the stored sequence of tenant %q is not that of its records", r.Tenant)
		}
	}
	return nil
}
