package governance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// TenantStatus is the host's own word on a tenant. Suspension is not a status: a
// tenant is suspended while any restriction stands.
type TenantStatus string

// The statuses of a tenant.
const (
	TenantTrial  TenantStatus = "trial"
	TenantActive TenantStatus = "active"
	TenantClosed TenantStatus = "closed"
)

// Tenant is our projection of a tenant that the host owns.
type Tenant struct {
	ID           TenantID            `json:"id"`
	Name         string              `json:"name"`
	Country      string              `json:"country"` // ISO 3166-1 alpha-2
	Region       string              `json:"region,omitempty"`
	Owner        PersonID            `json:"owner,omitempty"` // the customer-success manager
	Status       TenantStatus        `json:"status"`
	Plan         string              `json:"plan"`
	Seats        int64               `json:"seats"`
	RenewalAt    time.Time           `json:"renewal_at,omitzero"`
	ActiveAt     time.Time           `json:"active_at,omitzero"`      // latest activity of its users
	ExternalKeys map[string][]string `json:"external_keys,omitempty"` // by system: "domain", "email", "crm"
	Attributes   map[string]string   `json:"attributes,omitempty"`
	Version      int64               `json:"version"` // rises by one with every change of the tenant, its entitlements or restrictions
	CreatedAt    time.Time           `json:"created_at"`
	UpdatedAt    time.Time           `json:"updated_at"`
}

// Entitlement is what a tenant may use.
type Entitlement struct {
	Feature   string    `json:"feature"`
	Quantity  int64     `json:"quantity"` // 0: unlimited
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Source    string    `json:"source"` // who granted it: "plan", "playbook:<name>", …
	Version   int64     `json:"version"`
}

// Restriction is one reason why a tenant may not use a feature, or anything. A
// tenant is suspended while one without a feature stands.
type Restriction struct {
	Reason   string    `json:"reason"` // the key: lifting it lifts no other
	Feature  string    `json:"feature,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	PlacedBy string    `json:"placed_by"`
	PlacedAt time.Time `json:"placed_at"`
	Version  int64     `json:"version"`
}

// TenantState is all that systems outside need of a tenant; events carry it whole,
// so a consumer that missed one loses nothing.
type TenantState struct {
	Tenant       Tenant        `json:"tenant"`
	Suspended    bool          `json:"suspended"`
	Entitlements []Entitlement `json:"entitlements"`
	Restrictions []Restriction `json:"restrictions"`
}

func (t Tenant) validate() error {
	var errs []error
	if t.ID == "" || len(t.ID) > 128 {
		errs = append(errs, Invalid("tenant.id", "is required, at most 128 bytes"))
	}
	if t.Name == "" || len(t.Name) > 300 {
		errs = append(errs, Invalid("tenant.name", "is required, at most 300 bytes"))
	}
	if len(t.Country) != 2 {
		errs = append(errs, Invalid("tenant.country", "%q is not an ISO 3166-1 alpha-2 code", t.Country))
	}
	if !slices.Contains([]TenantStatus{TenantTrial, TenantActive, TenantClosed}, t.Status) {
		errs = append(errs, Invalid("tenant.status", "%q is not one of trial, active, closed", t.Status))
	}
	if t.Seats < 0 {
		errs = append(errs, Invalid("tenant.seats", "is negative"))
	}
	return errors.Join(errs...)
}

// UpsertTenantTx brings the projection in line with the host, in the host's own
// transaction when tx is adopted. Version, CreatedAt and UpdatedAt of t are
// ignored. Without a difference nothing is written and no event goes out.
func (k *Kernel) UpsertTenantTx(ctx context.Context, tx *Tx, id Identity, t Tenant) (Tenant, error) {
	if err := t.validate(); err != nil {
		return t, err
	}
	old, err := tenantTx(ctx, tx, t.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return k.insertTenantTx(ctx, tx, id, t)
	case err != nil:
		return t, err
	}
	t.Version, t.CreatedAt, t.UpdatedAt = old.Version, old.CreatedAt, old.UpdatedAt
	if sameTenant(t, old) {
		return old, nil
	}
	t.Version, t.UpdatedAt = old.Version+1, k.Now()
	row, err := t.row()
	if err != nil {
		return t, err
	}
	res, err := tx.NewUpdate().Model(row).WherePK().Where("version = ?", old.Version).Exec(ctx)
	if err != nil {
		return t, fmt.Errorf("tenant %s: %w", t.ID, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return t, fmt.Errorf("tenant %s: %w", t.ID, ErrRetry)
	}
	if !maps.EqualFunc(t.ExternalKeys, old.ExternalKeys, slices.Equal) {
		if err := putTenantKeysTx(ctx, tx, t); err != nil {
			return t, err
		}
	}
	typ := "tenant.updated"
	switch {
	case t.Status == TenantClosed && old.Status != TenantClosed:
		typ = "tenant.closed"
	case t.Plan != old.Plan:
		typ = "tenant.plan_changed"
	}
	return t, k.tenantChangedTx(ctx, tx, id, t, typ, map[string]any{"plan": change(old.Plan, t.Plan), "status": change(string(old.Status), string(t.Status))})
}

func change(from, to string) map[string]string { return map[string]string{"from": from, "to": to} }

func sameTenant(a, b Tenant) bool {
	return a.Name == b.Name && a.Country == b.Country && a.Region == b.Region && a.Owner == b.Owner && a.Status == b.Status &&
		a.Plan == b.Plan && a.Seats == b.Seats && atMicros(a.RenewalAt) == atMicros(b.RenewalAt) && atMicros(a.ActiveAt) == atMicros(b.ActiveAt) &&
		maps.EqualFunc(a.ExternalKeys, b.ExternalKeys, slices.Equal) && maps.Equal(a.Attributes, b.Attributes)
}

func (k *Kernel) insertTenantTx(ctx context.Context, tx *Tx, id Identity, t Tenant) (Tenant, error) {
	now := k.Now()
	if t.CreatedAt.IsZero() {
		t.CreatedAt = now
	}
	t.Version, t.UpdatedAt = 1, now
	row, err := t.row()
	if err != nil {
		return t, err
	}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if IsUnique(err) { // another server created it between our read and now
			return t, fmt.Errorf("tenant %s: %w: %w", t.ID, ErrRetry, err)
		}
		return t, fmt.Errorf("tenant %s: %w", t.ID, err)
	}
	if err := putTenantKeysTx(ctx, tx, t); err != nil {
		return t, err
	}
	return t, k.tenantChangedTx(ctx, tx, id, t, "tenant.created", nil)
}

func putTenantKeysTx(ctx context.Context, tx *Tx, t Tenant) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM gov_tenant_key WHERE tenant = ?", t.ID); err != nil {
		return fmt.Errorf("keys of tenant %s: %w", t.ID, err)
	}
	var rows []tenantKeyRow
	for _, system := range slices.Sorted(maps.Keys(t.ExternalKeys)) {
		for _, key := range t.ExternalKeys[system] {
			rows = append(rows, tenantKeyRow{System: system, Key: key, Tenant: string(t.ID)})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		if IsUnique(err) {
			return fmt.Errorf("tenant %s: an external key belongs to another tenant: %w", t.ID, ErrConflict)
		}
		return fmt.Errorf("keys of tenant %s: %w", t.ID, err)
	}
	return nil
}

// tenantChangedTx writes the record and the event of a change.
func (k *Kernel) tenantChangedTx(ctx context.Context, tx *Tx, id Identity, t Tenant, typ string, data any) error {
	tx.AfterCommit(func() { k.forgetPlace(t.ID) })
	state, err := stateTx(ctx, tx, t)
	if err != nil {
		return err
	}
	ref := Ref{"tenant", string(t.ID)}
	ev, err := NewEvent(typ, t.ID, t.Version, ref, state)
	if err != nil {
		return err
	}
	_, err = k.RecordTx(ctx, tx, id, Record{Action: typ, Tenant: t.ID, Resource: ref, Data: map[string]any{"version": t.Version, "change": data}}, ev)
	return err
}

// touchTenantTx raises the tenant's version, which also locks the row against
// other writers until the commit.
func (k *Kernel) touchTenantTx(ctx context.Context, tx *Tx, id TenantID) (Tenant, error) {
	res, err := tx.ExecContext(ctx, "UPDATE gov_tenant SET version = version + 1, updated_at = ? WHERE id = ?", atMicros(k.Now()), id)
	if err != nil {
		return Tenant{}, fmt.Errorf("tenant %s: %w", id, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return Tenant{}, fmt.Errorf("tenant %s: %w", id, ErrNotFound)
	}
	return tenantTx(ctx, tx, id)
}

// GrantTx gives a tenant an entitlement, or changes the one it has.
func (k *Kernel) GrantTx(ctx context.Context, tx *Tx, id Identity, tenant TenantID, e Entitlement) error {
	if e.Feature == "" || e.Source == "" || e.Quantity < 0 {
		return Invalid("entitlement", "feature and source are required, quantity is not negative")
	}
	t, err := k.touchTenantTx(ctx, tx, tenant)
	if err != nil {
		return err
	}
	row := &entitlementRow{Tenant: string(tenant), Feature: e.Feature, Quantity: e.Quantity, ExpiresAt: atMicros(e.ExpiresAt), Source: e.Source, Version: t.Version}
	_, err = tx.NewInsert().Model(row).On("CONFLICT (tenant, feature) DO UPDATE").
		Set("quantity = EXCLUDED.quantity").Set("expires_at = EXCLUDED.expires_at").Set("source = EXCLUDED.source").Set("version = EXCLUDED.version").Exec(ctx)
	if err != nil {
		return fmt.Errorf("grant %s to %s: %w", e.Feature, tenant, err)
	}
	return k.tenantChangedTx(ctx, tx, id, t, "entitlement.granted", map[string]any{"feature": e.Feature, "quantity": fmt.Sprint(e.Quantity)})
}

// RevokeTx takes an entitlement away. When ifVersion is not 0 the entitlement must
// still have that version, else ErrConflict: somebody changed it meanwhile.
func (k *Kernel) RevokeTx(ctx context.Context, tx *Tx, id Identity, tenant TenantID, feature string, ifVersion int64) error {
	t, err := k.touchTenantTx(ctx, tx, tenant)
	if err != nil {
		return err
	}
	if err := deleteVersioned(ctx, tx, (*entitlementRow)(nil), "feature", tenant, feature, ifVersion); err != nil {
		return fmt.Errorf("revoke %s of %s: %w", feature, tenant, err)
	}
	return k.tenantChangedTx(ctx, tx, id, t, "entitlement.revoked", map[string]any{"feature": feature})
}

// RestrictTx places a restriction. One with the same reason is left as it is and
// returned; placed tells which.
func (k *Kernel) RestrictTx(ctx context.Context, tx *Tx, id Identity, tenant TenantID, r Restriction) (got Restriction, placed bool, err error) {
	if r.Reason == "" || len(r.Reason) > 128 {
		return r, false, Invalid("restriction.reason", "is required, at most 128 bytes")
	}
	var have restrictionRow
	err = tx.NewSelect().Model(&have).Where("tenant = ? AND reason = ?", tenant, r.Reason).Scan(ctx)
	if err == nil {
		return have.restriction(), false, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return r, false, fmt.Errorf("restrict %s: %w", tenant, err)
	}
	t, err := k.touchTenantTx(ctx, tx, tenant)
	if err != nil {
		return r, false, err
	}
	row := &restrictionRow{Tenant: string(tenant), Reason: r.Reason, Feature: r.Feature, Detail: r.Detail, PlacedBy: id.Actor.ID, PlacedAt: atMicros(k.Now()), Version: t.Version}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if IsUnique(err) {
			return r, false, fmt.Errorf("restrict %s: %w: %w", tenant, ErrRetry, err)
		}
		return r, false, fmt.Errorf("restrict %s: %w", tenant, err)
	}
	typ := "tenant.suspended"
	if r.Feature != "" {
		typ = "tenant.restricted"
	}
	return row.restriction(), true, k.tenantChangedTx(ctx, tx, id, t, typ, map[string]any{"reason": r.Reason, "feature": r.Feature})
}

// LiftTx lifts the restriction of one reason and no other. When ifVersion is not 0
// the restriction must still have that version, else ErrConflict.
func (k *Kernel) LiftTx(ctx context.Context, tx *Tx, id Identity, tenant TenantID, reason string, ifVersion int64) error {
	t, err := k.touchTenantTx(ctx, tx, tenant)
	if err != nil {
		return err
	}
	if err := deleteVersioned(ctx, tx, (*restrictionRow)(nil), "reason", tenant, reason, ifVersion); err != nil {
		return fmt.Errorf("lift %q of %s: %w", reason, tenant, err)
	}
	left, err := tx.NewSelect().Model((*restrictionRow)(nil)).Where("tenant = ? AND feature = ''", tenant).Count(ctx)
	if err != nil {
		return fmt.Errorf("lift %q of %s: %w", reason, tenant, err)
	}
	typ := "tenant.restriction_lifted"
	if left == 0 {
		typ = "tenant.reactivated"
	}
	return k.tenantChangedTx(ctx, tx, id, t, typ, map[string]any{"reason": reason})
}

func deleteVersioned(ctx context.Context, tx *Tx, model any, column string, tenant TenantID, key string, ifVersion int64) error {
	q := tx.NewDelete().Model(model).Where("tenant = ? AND ? = ?", tenant, bun.Ident(column), key)
	if ifVersion != 0 {
		q = q.Where("version = ?", ifVersion)
	}
	res, err := q.Exec(ctx)
	if err != nil {
		return err
	}
	if n, _ := res.RowsAffected(); n == 1 {
		return nil
	}
	if ifVersion == 0 {
		return ErrNotFound
	}
	return fmt.Errorf("changed or gone since version %d: %w", ifVersion, ErrConflict)
}

// AccessDecision answers whether a tenant may use something now, and why.
type AccessDecision struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"` // "ok", "unknown_tenant", "closed", "restricted:<reason>", "not_entitled", "expired"
	Version int64  `json:"version"`
}

// Access says whether a tenant may use a feature; an empty feature asks for the
// product as a whole. What is unknown is not allowed. It reads only.
func (k *Kernel) Access(ctx context.Context, tenant TenantID, feature string) (AccessDecision, error) {
	s, err := k.TenantState(ctx, tenant)
	if errors.Is(err, ErrNotFound) {
		return AccessDecision{Reason: "unknown_tenant"}, nil
	}
	if err != nil {
		return AccessDecision{Reason: "unavailable"}, err
	}
	return s.access(feature, k.Now()), nil
}

func (s TenantState) access(feature string, now time.Time) AccessDecision {
	d := AccessDecision{Version: s.Tenant.Version}
	if s.Tenant.Status == TenantClosed {
		d.Reason = "closed"
		return d
	}
	for _, r := range s.Restrictions {
		if r.Feature == "" || r.Feature == feature {
			d.Reason = "restricted:" + r.Reason
			return d
		}
	}
	if feature == "" {
		d.Allowed, d.Reason = true, "ok"
		return d
	}
	for _, e := range s.Entitlements {
		if e.Feature != feature {
			continue
		}
		if !e.ExpiresAt.IsZero() && !e.ExpiresAt.After(now) {
			d.Reason = "expired"
			return d
		}
		d.Allowed, d.Reason = true, "ok"
		return d
	}
	d.Reason = "not_entitled"
	return d
}

// Tenant reads one tenant.
func (k *Kernel) Tenant(ctx context.Context, id TenantID) (Tenant, error) {
	return tenantTx(ctx, k.db.Read(), id)
}

// TenantByKey finds a tenant by a key in another system, such as ("domain",
// "acme.example").
func (k *Kernel) TenantByKey(ctx context.Context, system, key string) (Tenant, error) {
	var row tenantKeyRow
	err := k.db.Read().NewSelect().Model(&row).Where("system = ? AND key = ?", system, key).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Tenant{}, fmt.Errorf("tenant with this %s: %w", system, ErrNotFound)
	}
	if err != nil {
		return Tenant{}, fmt.Errorf("tenant by %s: %w", system, err)
	}
	return k.Tenant(ctx, TenantID(row.Tenant))
}

// TenantState reads a tenant with its entitlements and restrictions.
func (k *Kernel) TenantState(ctx context.Context, id TenantID) (TenantState, error) {
	return k.TenantStateTx(ctx, k.db.Read(), id)
}

// TenantStateTx is TenantState as the caller's transaction sees it.
func (k *Kernel) TenantStateTx(ctx context.Context, db bun.IDB, id TenantID) (TenantState, error) {
	t, err := tenantTx(ctx, db, id)
	if err != nil {
		return TenantState{}, err
	}
	return stateTx(ctx, db, t)
}

func stateTx(ctx context.Context, db bun.IDB, t Tenant) (TenantState, error) {
	s := TenantState{Tenant: t, Entitlements: []Entitlement{}, Restrictions: []Restriction{}}
	var es []entitlementRow
	if err := db.NewSelect().Model(&es).Where("tenant = ?", t.ID).Order("feature").Scan(ctx); err != nil {
		return s, fmt.Errorf("entitlements of %s: %w", t.ID, err)
	}
	for _, e := range es {
		s.Entitlements = append(s.Entitlements, Entitlement{e.Feature, e.Quantity, e.ExpiresAt.Time(), e.Source, e.Version})
	}
	var rs []restrictionRow
	if err := db.NewSelect().Model(&rs).Where("tenant = ?", t.ID).Order("placed_at", "reason").Scan(ctx); err != nil {
		return s, fmt.Errorf("restrictions of %s: %w", t.ID, err)
	}
	for _, r := range rs {
		s.Restrictions = append(s.Restrictions, r.restriction())
		s.Suspended = s.Suspended || r.Feature == ""
	}
	return s, nil
}

func (r restrictionRow) restriction() Restriction {
	return Restriction{r.Reason, r.Feature, r.Detail, r.PlacedBy, r.PlacedAt.Time(), r.Version}
}

func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// TenantFilter selects tenants by keyset pages; the zero value is every tenant's
// first page, which is what a super admin's list shows.
type TenantFilter struct {
	Search  string // part of the name or the id
	Country string
	Region  string
	Status  TenantStatus
	Plan    string
	After   TenantID // the last id of the page before
	Limit   int      // default 50, at most 200
}

// Tenants lists tenants by id.
func (k *Kernel) Tenants(ctx context.Context, f TenantFilter) ([]Tenant, error) {
	var rows []tenantRow
	q := k.db.Read().NewSelect().Model(&rows).Order("id").Limit(pageLimit(f.Limit))
	if f.Search != "" {
		like := "%" + escapeLike(f.Search) + "%"
		q = q.Where(`(LOWER(name) LIKE LOWER(?) ESCAPE '\' OR LOWER(id) LIKE LOWER(?) ESCAPE '\')`, like, like)
	}
	for column, value := range map[string]string{"country": f.Country, "region": f.Region, "status": string(f.Status), "plan": f.Plan} {
		if value != "" {
			q = q.Where("? = ?", bun.Ident(column), value)
		}
	}
	if f.After != "" {
		q = q.Where("id > ?", f.After)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return k.withKeys(ctx, rows)
}

func (k *Kernel) withKeys(ctx context.Context, rows []tenantRow) ([]Tenant, error) {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	keys := map[string]map[string][]string{}
	if len(ids) > 0 {
		var krs []tenantKeyRow
		if err := k.db.Read().NewSelect().Model(&krs).Where("tenant IN (?)", bun.List(ids)).Order("system", "key").Scan(ctx); err != nil {
			return nil, fmt.Errorf("tenant keys: %w", err)
		}
		for _, kr := range krs {
			if keys[kr.Tenant] == nil {
				keys[kr.Tenant] = map[string][]string{}
			}
			keys[kr.Tenant][kr.System] = append(keys[kr.Tenant][kr.System], kr.Key)
		}
	}
	out := make([]Tenant, 0, len(rows))
	for _, r := range rows {
		t, err := r.tenant()
		if err != nil {
			return nil, err
		}
		t.ExternalKeys = keys[r.ID]
		out = append(out, t)
	}
	return out, nil
}

func tenantTx(ctx context.Context, db bun.IDB, id TenantID) (Tenant, error) {
	var row tenantRow
	err := db.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Tenant{}, fmt.Errorf("tenant %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Tenant{}, fmt.Errorf("tenant %s: %w", id, err)
	}
	t, err := row.tenant()
	if err != nil {
		return t, err
	}
	var keys []tenantKeyRow
	if err := db.NewSelect().Model(&keys).Where("tenant = ?", id).Order("system", "key").Scan(ctx); err != nil {
		return t, fmt.Errorf("keys of tenant %s: %w", id, err)
	}
	for _, kr := range keys {
		if t.ExternalKeys == nil {
			t.ExternalKeys = map[string][]string{}
		}
		t.ExternalKeys[kr.System] = append(t.ExternalKeys[kr.System], kr.Key)
	}
	return t, nil
}

func (t Tenant) row() (*tenantRow, error) {
	attributes, err := json.Marshal(t.Attributes)
	if err != nil {
		return nil, fmt.Errorf("tenant %s: attributes: %w", t.ID, err)
	}
	return &tenantRow{
		ID: string(t.ID), Name: t.Name, Country: t.Country, Region: t.Region, Owner: string(t.Owner), Status: string(t.Status), Plan: t.Plan,
		Seats: t.Seats, RenewalAt: atMicros(t.RenewalAt), ActiveAt: atMicros(t.ActiveAt), Attributes: string(attributes),
		Version: t.Version, CreatedAt: atMicros(t.CreatedAt), UpdatedAt: atMicros(t.UpdatedAt),
	}, nil
}

func (r tenantRow) tenant() (Tenant, error) {
	t := Tenant{
		ID: TenantID(r.ID), Name: r.Name, Country: r.Country, Region: r.Region, Owner: PersonID(r.Owner), Status: TenantStatus(r.Status), Plan: r.Plan,
		Seats: r.Seats, RenewalAt: r.RenewalAt.Time(), ActiveAt: r.ActiveAt.Time(), Version: r.Version, CreatedAt: r.CreatedAt.Time(), UpdatedAt: r.UpdatedAt.Time(),
	}
	if err := json.Unmarshal([]byte(r.Attributes), &t.Attributes); err != nil {
		return t, fmt.Errorf("tenant %s: attributes: %w", r.ID, err)
	}
	return t, nil
}
