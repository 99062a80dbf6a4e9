package integrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// DeliveryState is where a delivery stands.
type DeliveryState string

// The states of a delivery.
const (
	Pending   DeliveryState = "pending"   // waits for its turn, or for a retry
	Parked    DeliveryState = "parked"    // waits for a retry; the ones behind it go first
	Done      DeliveryState = "done"      // delivered, or the target held it already
	Merged    DeliveryState = "merged"    // a newer one carries its state
	Dead      DeliveryState = "dead"      // given up
	Cancelled DeliveryState = "cancelled" // its target was removed
)

// Delivery is one event on its way to one target.
type Delivery struct {
	ID          governance.ID[Delivery]
	Target      governance.ID[Target]
	Tenant      governance.TenantID
	Event       uuid.UUID
	Type        string
	Version     int64 // the tenant's, at the event
	SentVersion int64 // the tenant's, as it was told
	State       DeliveryState
	Attempts    int
	NextAt      time.Time // of a pending or parked one
	Code        Code
	Detail      string
	MergedInto  string
	Replayed    bool
	CreatedAt   time.Time
	DoneAt      time.Time
}

// Attempt is one call. It is written before the call and completed after it.
type Attempt struct {
	ID          uuid.UUID
	N           int
	Idempotency string // what the target knows it by; the same over repetitions of one write
	StartedAt   time.Time
	EndedAt     time.Time // zero while the call is out
	Micros      int64
	Status      int // of HTTP
	Code        Code
	Excerpt     string // of the answer, scrubbed
}

// DeliveryFilter selects deliveries; the zero value is every one, newest first.
type DeliveryFilter struct {
	Target  governance.ID[Target]
	Tenant  governance.TenantID
	State   DeliveryState
	Waiting bool                    // pending and parked
	After   governance.ID[Delivery] // the last of the page before
	Limit   int                     // default 50, at most 200
}

// Deliveries lists deliveries, newest first.
func (s *Service) Deliveries(ctx context.Context, f DeliveryFilter) ([]Delivery, error) {
	if f.Limit <= 0 {
		f.Limit = 50
	}
	var rows []deliveryRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Order("id DESC").Limit(int64(min(f.Limit, 200)))
	if !f.Target.IsZero() {
		q = q.Where("target = ?", f.Target.UUID)
	}
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.State != "" {
		q = q.Where("state = ?", f.State)
	}
	if f.Waiting {
		q = q.Where("state IN ('pending', 'parked')")
	}
	if !f.After.IsZero() {
		q = q.Where("id < ?", f.After.UUID)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	out := make([]Delivery, len(rows))
	for i, r := range rows {
		out[i] = r.delivery()
	}
	return out, nil
}

// Delivery reads one delivery with its attempts, first attempt first.
func (s *Service) Delivery(ctx context.Context, id governance.ID[Delivery]) (Delivery, []Attempt, error) {
	var row deliveryRow
	err := s.k.DB().Read().NewSelect().Model(&row).Where("id = ?", id.UUID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Delivery{}, nil, fmt.Errorf("delivery %s: %w", id, governance.ErrNotFound)
	}
	if err != nil {
		return Delivery{}, nil, fmt.Errorf("delivery %s: %w", id, err)
	}
	var rows []attemptRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("delivery = ?", id.UUID).Order("n").Limit(throttleMost + 50).Scan(ctx); err != nil {
		return Delivery{}, nil, fmt.Errorf("attempts of %s: %w", id, err)
	}
	out := make([]Attempt, len(rows))
	for i, r := range rows {
		out[i] = r.attempt()
	}
	return row.delivery(), out, nil
}

// Lag is how far a target is behind.
type Lag struct {
	Target  governance.ID[Target]
	Waiting int64
	Oldest  time.Duration // age of the oldest that waits
	Dead    int64
	LastAt  time.Time // of the last delivery
}

// Lags tells how far each target is behind, in the order of [Service.Targets].
func (s *Service) Lags(ctx context.Context) ([]Lag, error) {
	var rows []struct {
		ID      uuid.UUID
		Waiting int64
		Oldest  govdb.Micros
		Dead    int64
		LastAt  govdb.Micros
	}
	err := s.k.DB().Read().NewRaw(`SELECT t.id,
		(SELECT COUNT(*) FROM integration_delivery d WHERE d.target = t.id AND d.state IN ('pending', 'parked')) AS waiting,
		(SELECT COALESCE(MIN(d.waiting_since), 0) FROM integration_delivery d WHERE d.target = t.id AND d.state IN ('pending', 'parked')) AS oldest,
		(SELECT COUNT(*) FROM integration_delivery d WHERE d.target = t.id AND d.state = 'dead') AS dead,
		(SELECT COALESCE(MAX(l.told_at), 0) FROM integration_lane l WHERE l.target = t.id) AS last_at
		FROM integration_target t WHERE t.state <> ? ORDER BY t.name`, TargetRemoved).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("lag of targets: %w", err)
	}
	now := s.k.Now()
	out := make([]Lag, len(rows))
	for i, r := range rows {
		out[i] = Lag{Target: governance.ID[Target]{UUID: r.ID}, Waiting: r.Waiting, Dead: r.Dead, LastAt: r.LastAt.Time()}
		if r.Oldest > 0 {
			out[i].Oldest = max(0, now.Sub(r.Oldest.Time()))
		}
	}
	return out, nil
}

// Told is what one target was told last about a tenant.
type Told struct {
	Target    governance.ID[Target]
	Name      string
	Kind      Kind
	State     TargetState
	Version   int64
	Type      string
	At        time.Time
	Delivery  string
	RemoteID  string
	RemoteURL string
	Waiting   int64 // deliveries that are still to come
	Dead      int64
}

// Told lists what each target was told last about a tenant, by name. A target that
// was told nothing yet is there with the zero At.
func (s *Service) Told(ctx context.Context, tenant governance.TenantID) ([]Told, error) {
	var rows []struct {
		ID                     uuid.UUID
		Name, Kind, State      string
		ToldVersion            int64
		ToldType, ToldDelivery string
		ToldAt                 govdb.Micros
		Remote                 string
		Address                string
		Waiting, Dead          int64
	}
	err := s.k.DB().Read().NewRaw(`SELECT t.id, t.name, t.kind, t.state, COALESCE(l.told_version, 0) AS told_version, COALESCE(l.told_type, '') AS told_type,
		COALESCE(l.told_at, 0) AS told_at, COALESCE(l.told_delivery, '') AS told_delivery, COALESCE(l.remote_id, '') AS remote, COALESCE(l.remote_url, '') AS address,
		(SELECT COUNT(*) FROM integration_delivery d WHERE d.target = t.id AND d.tenant = ? AND d.state IN ('pending', 'parked')) AS waiting,
		(SELECT COUNT(*) FROM integration_delivery d WHERE d.target = t.id AND d.tenant = ? AND d.state = 'dead') AS dead
		FROM integration_target t LEFT JOIN integration_lane l ON l.target = t.id AND l.tenant = ? WHERE t.state <> ? ORDER BY t.name`,
		tenant, tenant, tenant, TargetRemoved).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("what was told about %s: %w", tenant, err)
	}
	out := make([]Told, len(rows))
	for i, r := range rows {
		out[i] = Told{Target: governance.ID[Target]{UUID: r.ID}, Name: r.Name, Kind: Kind(r.Kind), State: TargetState(r.State), Version: r.ToldVersion, Type: r.ToldType,
			At: r.ToldAt.Time(), Delivery: r.ToldDelivery, RemoteID: r.Remote, RemoteURL: r.Address, Waiting: r.Waiting, Dead: r.Dead}
	}
	return out, nil
}

// ReplayInput says what to send again: one delivery, or those of a target. The zero
// value is nothing.
type ReplayInput struct {
	Delivery string              `json:"delivery,omitempty"`
	Target   string              `json:"target,omitempty"`
	Tenant   governance.TenantID `json:"tenant,omitempty"` // with Target: of one tenant
	From     string              `json:"from,omitempty"`   // RFC 3339, with Target: created then or later
	To       string              `json:"to,omitempty"`     // RFC 3339, with Target: created before
	Delivers bool                `json:"include_delivered,omitempty"`
}

const replayMost = 10000

// Replay sends again. A webhook gets the event as it was, with the same webhook-id. A
// connector is given the tenant's current state, never an old one. Without
// include_delivered only dead letters of a target are sent.
func (s *Service) Replay(ctx context.Context, id governance.Identity, in ReplayInput, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.replay.Do(ctx, s.k, id, in, opts)
}

func (s *Service) replayAction() *governance.Action[ReplayInput] {
	return governance.Define("integration.replay", governance.Spec[ReplayInput]{
		Summary:    "Sends deliveries again.",
		Units:      []string{"deliveries"},
		Permission: "integration:write",
		Tenant:     func(in ReplayInput) governance.TenantID { return in.Tenant },
		Resource: func(in ReplayInput) governance.Ref {
			if in.Delivery != "" {
				return governance.Ref{Kind: "delivery", ID: in.Delivery}
			}
			return governance.Ref{Kind: "target", ID: in.Target}
		},
		Validate: func(in ReplayInput) error { _, err := in.selection(nil); return err },
		Measures: func(ctx context.Context, tx *governance.Tx, in ReplayInput) ([]governance.Measure, error) {
			q, err := in.selection(tx)
			if err != nil {
				return nil, err
			}
			n, err := q.Count(ctx)
			return []governance.Measure{{Unit: "deliveries", Value: n}}, err
		},
	}, s.replayTx)
}

// selection is what in selects; with a nil db it only checks.
func (in ReplayInput) selection(db bun.IDB) (*bun.SelectQuery, error) {
	var errs []error
	id := in.Delivery
	if (in.Delivery == "") == (in.Target == "") {
		return nil, governance.Invalid("delivery", "name either a delivery or a target")
	}
	if in.Delivery == "" {
		id = in.Target
	} else if in.Tenant != "" || in.From != "" || in.To != "" {
		errs = append(errs, governance.Invalid("delivery", "tenant, from and to go with a target"))
	}
	u, err := uuid.Parse(id)
	if err != nil {
		errs = append(errs, governance.Invalid("id", "is not a UUID"))
	}
	var times [2]govdb.Micros
	for i, text := range []string{in.From, in.To} {
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			errs = append(errs, governance.Invalid([]string{"from", "to"}[i], "is not a time such as 2026-01-31T12:00:00Z"))
			continue
		}
		times[i] = govdb.At(at)
	}
	if err := errors.Join(errs...); err != nil || db == nil {
		return nil, err
	}
	q := db.NewSelect().Model((*deliveryRow)(nil))
	if in.Delivery != "" {
		return q.Where("id = ? AND state IN ('dead', 'done', 'merged')", u), nil
	}
	q = q.Where("target = ?", u)
	if in.Delivers {
		q = q.Where("state IN ('dead', 'done')")
	} else {
		q = q.Where("state = 'dead'")
	}
	if in.Tenant != "" {
		q = q.Where("tenant = ?", in.Tenant)
	}
	if times[0] != 0 {
		q = q.Where("created_at >= ?", times[0])
	}
	if times[1] != 0 {
		q = q.Where("created_at < ?", times[1])
	}
	return q, nil
}

// replayed is what the action integration.replay returns.
type replayed struct {
	Deliveries int `json:"deliveries"`
}

func (s *Service) replayTx(ctx context.Context, tx *governance.Tx, in ReplayInput) (governance.Result, error) {
	q, err := in.selection(tx)
	if err != nil {
		return governance.Result{}, err
	}
	var rows []deliveryRow
	if err := q.Order("id").Limit(replayMost+1).Scan(ctx, &rows); err != nil {
		return governance.Result{}, fmt.Errorf("replay: %w", err)
	}
	switch {
	case len(rows) > replayMost:
		return governance.Result{}, governance.Invalid("target", "selects more than %d deliveries; narrow it by time", replayMost)
	case len(rows) == 0 && in.Delivery != "":
		return governance.Result{}, fmt.Errorf("delivery %s is not at rest, or not there: %w", in.Delivery, governance.ErrNotFound)
	case len(rows) == 0:
		return governance.Result{Data: replayed{}}, nil
	}
	if _, err := targetTx(ctx, tx, rows[0].Target); err != nil {
		return governance.Result{}, err
	}
	return governance.Result{Data: replayed{len(rows)}}, s.rearmTx(ctx, tx, rows)
}

// rearmTx makes deliveries pending again, in a new round of their lanes: a connector's
// vendor must not take the repetition for the write it remembers.
func (s *Service) rearmTx(ctx context.Context, tx *governance.Tx, rows []deliveryRow) error {
	now := govdb.At(s.k.Now())
	rounds := map[laneKey]int64{}
	keys := laneKeys(rows)
	if err := s.wakeLanesTx(ctx, tx, keys, now); err != nil {
		return err
	}
	for _, k := range keys {
		n, err := scalar(ctx, tx, "UPDATE integration_lane SET rounds = rounds + 1, next_at = ? WHERE target = ? AND tenant = ? RETURNING rounds", now, k.target, k.tenant)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		rounds[k] = n
	}
	for _, r := range rows {
		_, err := tx.ExecContext(ctx, "UPDATE integration_delivery SET state = ?, round = ?, step = 0, next_at = ?, code = '', detail = '', merged_into = '', done_at = 0, waiting_since = ? WHERE id = ?",
			Pending, rounds[laneKey{r.Target, r.Tenant}], now, now, r.ID)
		if err != nil {
			return fmt.Errorf("replay %s: %w", r.ID, err)
		}
	}
	tx.AfterCommit(s.wake)
	return nil
}
