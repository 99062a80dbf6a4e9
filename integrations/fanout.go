package integrations

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// body is what a webhook carries: the exact bytes are made once and stored.
type body struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Time          string          `json:"time"`
	Timestamp     string          `json:"timestamp"` // the same instant under the name Standard Webhooks gives it
	Tenant        string          `json:"tenant,omitempty"`
	TenantVersion int64           `json:"tenant_version,omitempty"` // order by this: apply what is newer than what you have
	TenantSeq     int64           `json:"tenant_seq,omitempty"`     // a gap means that something is still to come
	Data          json.RawMessage `json:"data"`
}

func newBody(e governance.Event) (string, error) {
	at := e.At.UTC().Format(time.RFC3339Nano)
	b, err := json.Marshal(body{e.ID.String(), e.Type, at, at, e.Tenant, e.TenantVersion, e.TenantSeq, e.Data})
	if err != nil {
		return "", fmt.Errorf("event %s: %w", e.ID, err)
	}
	return string(b), nil
}

// messageID is the webhook-id of an event: the same over all attempts and replays, so
// that it is the receiver's idempotency key.
func messageID(event uuid.UUID) string { return "msg_" + hex.EncodeToString(event[:]) }

type laneKey struct {
	target uuid.UUID
	tenant string
}

func compareLanes(a, b laneKey) int {
	if c := slices.Compare(a.target[:], b.target[:]); c != 0 {
		return c
	}
	return strings.Compare(a.tenant, b.tenant)
}

// laneKeys are the lanes of deliveries, each once, in the one order they are locked in.
func laneKeys(deliveries []deliveryRow) []laneKey {
	keys := make([]laneKey, 0, len(deliveries))
	for _, d := range deliveries {
		keys = append(keys, laneKey{d.Target, d.Tenant})
	}
	slices.SortFunc(keys, compareLanes)
	return slices.Compact(keys)
}

// fanOut turns events into deliveries. It commits with the consumer's cursor, so an
// event is fanned out once.
func (s *Service) fanOut(ctx context.Context, tx *governance.Tx, evs []governance.Event) error {
	var rows []targetRow
	if err := tx.NewSelect().Model(&rows).Where("state <> ?", TargetRemoved).Order("id").Scan(ctx); err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	targets := make([]Target, 0, len(rows))
	for _, r := range rows {
		t, err := r.target()
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	var messages []messageRow
	var deliveries []deliveryRow
	now := govdb.At(s.k.Now())
	for _, e := range evs {
		stored := false
		for _, t := range targets {
			if !t.wants(e) {
				continue
			}
			if t.Kind == Webhook && !stored {
				text, err := newBody(e)
				if err != nil {
					return err
				}
				messages, stored = append(messages, messageRow{ID: e.ID, Body: text}), true
			}
			deliveries = append(deliveries, deliveryRow{
				ID: uuid.Must(uuid.NewV7()), Target: t.ID.UUID, Tenant: e.Tenant, Event: e.ID, Type: e.Type, Version: e.TenantVersion, Seq: e.N,
				State: string(Pending), NextAt: now, WaitingSince: now, CreatedAt: now,
			})
		}
	}
	if len(messages) > 0 {
		if _, err := tx.NewInsert().Model(&messages).Exec(ctx); err != nil {
			return fmt.Errorf("store %d messages: %w", len(messages), err)
		}
	}
	return s.enqueueTx(ctx, tx, deliveries, now)
}

// wants tells whether the target is told about the event. A connector is given the
// state of a tenant, so an event that is not about one is nothing to it.
func (t Target) wants(e governance.Event) bool {
	if t.Kind != Webhook && (e.Tenant == "" || e.TenantVersion <= 0) {
		return false
	}
	// A new target is not told the past: see Resync. The minute is for servers whose
	// clocks differ; what is told too much is told in order like everything else.
	if e.At.Before(t.CreatedAt.Add(-time.Minute)) {
		return false
	}
	return matches(t.Events, e.Type)
}

// enqueueTx stores deliveries and makes their lanes due.
func (s *Service) enqueueTx(ctx context.Context, tx *governance.Tx, deliveries []deliveryRow, now govdb.Micros) error {
	if len(deliveries) == 0 {
		return nil
	}
	for part := range slices.Chunk(deliveries, 200) {
		if _, err := tx.NewInsert().Model(&part).Exec(ctx); err != nil {
			return fmt.Errorf("store %d deliveries: %w", len(part), err)
		}
	}
	for part := range slices.Chunk(laneKeys(deliveries), 200) {
		if err := s.wakeLanesTx(ctx, tx, part, now); err != nil {
			return err
		}
	}
	tx.AfterCommit(s.wake)
	return nil
}

// wakeLanesTx makes idle lanes due. One that waits for a retry keeps waiting, unless
// what it waits for has stepped aside.
func (s *Service) wakeLanesTx(ctx context.Context, tx *governance.Tx, keys []laneKey, now govdb.Micros) error {
	lanes := make([]laneRow, len(keys))
	for i, k := range keys {
		lanes[i] = laneRow{Target: k.target, Tenant: k.tenant, NextAt: now}
	}
	var got []struct {
		Target uuid.UUID
		Tenant string
		NextAt govdb.Micros
	}
	err := tx.NewInsert().Model(&lanes).On("CONFLICT (target, tenant) DO UPDATE").
		Set("next_at = CASE WHEN lane_row.next_at = 0 THEN EXCLUDED.next_at ELSE lane_row.next_at END").
		Returning("target, tenant, next_at").Scan(ctx, &got)
	if err != nil {
		return fmt.Errorf("wake %d lanes: %w", len(keys), err)
	}
	for _, g := range got {
		if g.NextAt <= now {
			continue
		}
		if _, err := s.scheduleTx(ctx, tx, laneKey{g.Target, g.Tenant}); err != nil {
			return err
		}
	}
	return nil
}

// scheduleTx sets when the lane is next due: when the oldest that waits is, or one
// that stepped aside; never, when nothing waits.
func (s *Service) scheduleTx(ctx context.Context, tx *governance.Tx, lane laneKey) (govdb.Micros, error) {
	next, err := scalar(ctx, tx, `SELECT COALESCE((SELECT next_at FROM integration_delivery WHERE target = ? AND tenant = ? AND state = 'pending' ORDER BY seq, id LIMIT 1), 0)`,
		lane.target, lane.tenant)
	if err != nil {
		return 0, fmt.Errorf("schedule lane: %w", err)
	}
	parked, err := scalar(ctx, tx, `SELECT COALESCE(MIN(next_at), 0) FROM integration_delivery WHERE target = ? AND tenant = ? AND state = 'parked'`, lane.target, lane.tenant)
	if err != nil {
		return 0, fmt.Errorf("schedule lane: %w", err)
	}
	if next == 0 || parked != 0 && parked < next {
		next = parked
	}
	_, err = tx.ExecContext(ctx, "UPDATE integration_lane SET next_at = ? WHERE target = ? AND tenant = ?", next, lane.target, lane.tenant)
	if err != nil {
		return 0, fmt.Errorf("schedule lane: %w", err)
	}
	return govdb.Micros(next), nil
}

func scalar(ctx context.Context, db bun.IDB, query string, args ...any) (int64, error) {
	var n int64
	err := db.NewRaw(query, args...).Scan(ctx, &n)
	return n, err
}
