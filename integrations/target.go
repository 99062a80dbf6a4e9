package integrations

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/integrations/connector"
)

// Kind is the kind of system a target is.
type Kind string

// The kinds of target.
const (
	Webhook   Kind = "webhook"
	CRM       Kind = "crm"
	Billing   Kind = "billing"
	Ticketing Kind = "ticketing"
)

// Mode says what happens to a lane when a delivery fails.
type Mode string

// The modes of a target's lanes.
const (
	Strict   Mode = "strict"   // webhooks: the ones behind it wait, until it is delivered or dead
	Park     Mode = "park"     // webhooks: after three attempts the ones behind it go first
	Coalesce Mode = "coalesce" // connectors: the tenant's current state replaces all that wait
)

// TargetState is where a target stands.
type TargetState string

// The states of a target. A paused one collects deliveries and sends none.
const (
	TargetActive  TargetState = "active"
	TargetPaused  TargetState = "paused"
	TargetRemoved TargetState = "removed"
)

// PauseCause says why a target is paused.
type PauseCause string

// The causes of a pause.
const (
	CauseManual  PauseCause = "manual"         // somebody paused it
	CauseSecret  PauseCause = "secret"         // it has no signing secret yet
	CauseAuth    PauseCause = "authentication" // credentials are refused
	CauseGone    PauseCause = "gone"           // the receiver answered 410
	CauseBlocked PauseCause = "blocked"        // its address leads where none may
)

// Target is a system outside that is told about tenants.
type Target struct {
	ID           governance.ID[Target]
	Name         string
	Kind         Kind
	Connector    string            // Descriptor.ID; empty for webhooks
	Config       map[string]string // "url" of a webhook; a connector's settings without its secrets
	Secrets      []string          // which secrets are set; their values never come back
	PublicKey    string            // of a webhook with v1a signatures
	Events       []string          // types it is told, or "prefix.*"
	Mode         Mode
	State        TargetState
	Cause        PauseCause
	Detail       string
	PausedAt     time.Time
	HoldUntil    time.Time // the target asked to wait
	Failures     int64     // in a row
	FailingSince time.Time
	Version      int64
	CreatedAt    time.Time
	UpdatedAt    time.Time

	sealed map[string]sealedSecret
}

// The secrets of a webhook, and the setting that chooses the kind of signature.
const (
	secretSigning   = "signing"
	secretPrevious  = "previous"
	configURL       = "url"
	configSignature = "signature" // v1 (default) or v1a
)

// TargetInput describes a target. Secrets are write-only.
type TargetInput struct {
	Name      string
	Kind      Kind
	Connector string
	Config    map[string]string
	Secrets   map[string]string // of a connector; on an edit an absent one is kept and an empty one removed
	Events    []string
	Mode      Mode // default Park for a webhook, Coalesce for a connector
}

// CreateInput is the input of the action integration.target.create, with secrets sealed.
type CreateInput struct {
	ID uuid.UUID `json:"id"`
	targetFields
}

// EditInput is the input of the action integration.target.edit.
type EditInput struct {
	ID        uuid.UUID `json:"id"`
	IfVersion int64     `json:"if_version"` // 0: whatever it is now
	targetFields
}

// RemoveInput is the input of the action integration.target.remove.
type RemoveInput struct {
	ID uuid.UUID `json:"id"`
}

type targetFields struct {
	Name      string            `json:"name"`
	Kind      Kind              `json:"kind"`
	Connector string            `json:"connector,omitempty"`
	Config    map[string]string `json:"config"`
	Sealed    map[string]string `json:"sealed"` // base64; an empty one removes the secret
	Events    []string          `json:"events"`
	Mode      Mode              `json:"mode"`
}

func (s *Service) createAction() *governance.Action[CreateInput] {
	return governance.Define("integration.target.create", governance.Spec[CreateInput]{
		Summary:    "Adds a place that data is sent to.",
		Permission: "integration:write", Sensitive: true,
		Tenant:   func(CreateInput) governance.TenantID { return "" },
		Resource: func(in CreateInput) governance.Ref { return governance.RefTo("target", in.ID) },
		Validate: func(in CreateInput) error { return s.validate(in.targetFields) },
	}, s.createTx)
}

func (s *Service) editAction() *governance.Action[EditInput] {
	return governance.Define("integration.target.edit", governance.Spec[EditInput]{
		Summary:    "Changes where data is sent, or what.",
		Permission: "integration:write", Sensitive: true,
		Tenant:   func(EditInput) governance.TenantID { return "" },
		Resource: func(in EditInput) governance.Ref { return governance.RefTo("target", in.ID) },
		Validate: func(in EditInput) error { return s.validate(in.targetFields) },
		Version: func(ctx context.Context, tx *governance.Tx, in EditInput) (int64, error) {
			row, err := targetTx(ctx, tx, in.ID)
			return row.Version, err
		},
	}, s.editTx)
}

func (s *Service) removeAction() *governance.Action[RemoveInput] {
	return governance.Define("integration.target.remove", governance.Spec[RemoveInput]{
		Summary:    "Removes a place that data is sent to.",
		Permission: "integration:write", Sensitive: true,
		Tenant:   func(RemoveInput) governance.TenantID { return "" },
		Resource: func(in RemoveInput) governance.Ref { return governance.RefTo("target", in.ID) },
		Version: func(ctx context.Context, tx *governance.Tx, in RemoveInput) (int64, error) {
			row, err := targetTx(ctx, tx, in.ID)
			return row.Version, err
		},
	}, s.removeTx)
}

// Created is a new target. Secret is the signing secret of a webhook, shown this once;
// it is empty when the creation is held, or was asked for before: see
// [Service.RotateSecret].
type Created struct {
	ID        governance.ID[Target]
	Secret    string
	PublicKey string
}

// CreateTarget adds a target and, of a webhook, makes the signing secret. With a key in
// opts the same call is the same target.
func (s *Service) CreateTarget(ctx context.Context, id governance.Identity, in TargetInput, opts *governance.DoOptions) (Created, governance.Outcome, error) {
	c, out, err := s.AddTarget(ctx, id, in, opts)
	if err != nil || out.Replayed || in.Kind != Webhook {
		return c, out, err
	}
	rotated, err := s.rotate(ctx, id, c.ID)
	c.Secret, c.PublicKey = rotated.Secret, rotated.PublicKey
	return c, out, err
}

// AddTarget is CreateTarget without the secret: a webhook is paused until
// [Service.RotateSecret] makes one.
func (s *Service) AddTarget(ctx context.Context, id governance.Identity, in TargetInput, opts *governance.DoOptions) (Created, governance.Outcome, error) {
	target := uuid.Must(uuid.NewV7())
	if opts != nil && opts.Key != "" {
		target = uuid.NewSHA1(uuid.NameSpaceOID, []byte("reeve/target\n"+id.Actor.ID+"\n"+opts.Key))
	}
	c := Created{ID: governance.ID[Target]{UUID: target}}
	fields, err := s.fields(target, in)
	if err != nil {
		return c, governance.Outcome{}, err
	}
	out, err := s.create.Do(ctx, s.k, id, CreateInput{target, fields}, opts)
	return c, out, err
}

// EditTarget changes a target. ifVersion 0 changes whatever is there now; any other
// must be the version it has, else ErrConflict.
func (s *Service) EditTarget(ctx context.Context, id governance.Identity, target governance.ID[Target], ifVersion int64, in TargetInput, opts *governance.DoOptions) (governance.Outcome, error) {
	fields, err := s.fields(target.UUID, in)
	if err != nil {
		return governance.Outcome{}, err
	}
	return s.edit.Do(ctx, s.k, id, EditInput{target.UUID, ifVersion, fields}, opts)
}

// RemoveTarget ends a target: what waits for it is cancelled, its log stays.
func (s *Service) RemoveTarget(ctx context.Context, id governance.Identity, target governance.ID[Target], opts *governance.DoOptions) (governance.Outcome, error) {
	return s.remove.Do(ctx, s.k, id, RemoveInput{target.UUID}, opts)
}

// fields seals the secrets of an input; after it no secret is in the clear.
func (s *Service) fields(target uuid.UUID, in TargetInput) (targetFields, error) {
	f := targetFields{Name: strings.TrimSpace(in.Name), Kind: in.Kind, Connector: in.Connector, Config: in.Config, Sealed: map[string]string{}, Events: in.Events, Mode: in.Mode}
	if f.Config == nil {
		f.Config = map[string]string{}
	}
	f.Events = slices.Compact(slices.Sorted(slices.Values(in.Events)))
	if f.Events == nil {
		f.Events = []string{}
	}
	if f.Mode == "" {
		f.Mode = Coalesce
		if f.Kind == Webhook {
			f.Mode = Park
		}
	}
	if f.Kind == Webhook && len(in.Secrets) > 0 {
		return f, governance.Invalid("secrets", "a webhook's secret is made here; rotate it to see a new one")
	}
	for name, value := range in.Secrets {
		if value == "" {
			f.Sealed[name] = ""
			continue
		}
		blob, err := s.seal(target, name, value)
		if err != nil {
			return f, err
		}
		f.Sealed[name] = blob
	}
	return f, nil
}

func (s *Service) validate(f targetFields) error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, governance.Invalid(field, format, args...))
	}
	if f.Name == "" || len(f.Name) > 100 {
		bad("name", "is required, at most 100 bytes")
	}
	for i, e := range f.Events {
		if !validPattern(e) {
			bad(fmt.Sprintf("events[%d]", i), "%q is neither an event type nor a prefix with a star", e)
		}
	}
	if len(f.Events) > 50 {
		bad("events", "are at most 50")
	}
	switch f.Kind {
	case Webhook:
		if f.Connector != "" {
			bad("connector", "a webhook has none")
		}
		if len(f.Events) == 0 {
			bad("events", "name at least one; no event never means every event")
		}
		if f.Mode != Strict && f.Mode != Park {
			bad("mode", "%q is not one of strict, park", f.Mode)
		}
		for k := range f.Config {
			if k != configURL && k != configSignature {
				bad("config."+k, "is not a setting of a webhook")
			}
		}
		if v := f.Config[configSignature]; v != "" && v != "v1" && v != "v1a" {
			bad("config.signature", "%q is not one of v1, v1a", v)
		}
		if err := s.validURL(f.Config[configURL]); err != nil {
			errs = append(errs, err)
		}
	case CRM, Billing, Ticketing:
		if f.Mode != Coalesce {
			bad("mode", "%q: a connector is given the current state, so its mode is coalesce", f.Mode)
		}
		errs = append(errs, s.validConnector(f))
	default:
		bad("kind", "%q is not one of webhook, crm, billing, ticketing", f.Kind)
	}
	return errors.Join(errs...)
}

func validPattern(p string) bool {
	p = strings.TrimSuffix(p, "*")
	if len(p) > 100 || strings.HasPrefix(p, ".") || strings.Contains(p, "..") {
		return false
	}
	return strings.IndexFunc(p, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '.')
	}) < 0
}

func matches(patterns []string, typ string) bool {
	for _, p := range patterns {
		if prefix, star := strings.CutSuffix(p, "*"); p == typ || star && strings.HasPrefix(typ, prefix) {
			return true
		}
	}
	return false
}

func (s *Service) validURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || len(raw) > 2000:
		return governance.Invalid("config.url", "is not an address")
	case u.Scheme != "https" && (u.Scheme != "http" || !s.opts.PlainHTTP):
		return governance.Invalid("config.url", "must begin with https://")
	case u.User != nil:
		return governance.Invalid("config.url", "must not hold a user name or password")
	case u.Fragment != "":
		return governance.Invalid("config.url", "must not have a fragment")
	}
	return nil
}

func (s *Service) validConnector(f targetFields) error {
	var errs []error
	installed := s.opts.Descriptors() // once: a host may list them in another order each time
	i := slices.IndexFunc(installed, func(d connector.Descriptor) bool { return d.ID == f.Connector })
	if i < 0 {
		return governance.Invalid("connector", "%q is not installed", f.Connector)
	}
	d := installed[i]
	if string(d.Kind) != string(f.Kind) {
		errs = append(errs, governance.Invalid("kind", "%s is a connector of kind %s", d.ID, d.Kind))
	}
	secret := map[string]bool{}
	for _, field := range d.Config {
		secret[field.Key] = field.Secret
		if field.Required && !field.Secret && f.Config[field.Key] == "" {
			errs = append(errs, governance.Invalid("config."+field.Key, "is required"))
		}
	}
	for k := range f.Config {
		if isSecret, known := secret[k]; !known || isSecret {
			errs = append(errs, governance.Invalid("config."+k, "is not a setting of %s, or is a secret", d.ID))
		}
	}
	for k := range f.Sealed {
		if !secret[k] {
			errs = append(errs, governance.Invalid("secrets."+k, "is not a secret of %s", d.ID))
		}
	}
	return errors.Join(errs...)
}

// missingSecrets names the required secrets of a connector that are not set.
func (s *Service) missingSecrets(f targetFields, have map[string]sealedSecret) error {
	for _, d := range s.opts.Descriptors() {
		if d.ID != f.Connector {
			continue
		}
		for _, field := range d.Config {
			if _, ok := have[field.Key]; field.Required && field.Secret && !ok {
				return governance.Invalid("secrets."+field.Key, "is required")
			}
		}
	}
	return nil
}

// targetDone is what an action on a target returns.
type targetDone struct {
	ID      uuid.UUID `json:"id"`
	Version int64     `json:"version"`
}

func (s *Service) createTx(ctx context.Context, tx *governance.Tx, in CreateInput) (governance.Result, error) {
	now := govdb.At(s.k.Now())
	row := &targetRow{ID: in.ID, State: string(TargetActive), Version: 1, CreatedAt: now, UpdatedAt: now, Sealed: "{}"}
	if in.Kind == Webhook { // nothing may go out unsigned
		row.State, row.Cause, row.Detail, row.PausedAt = string(TargetPaused), string(CauseSecret), "rotate the secret to make one", now
	}
	if err := s.put(row, in.targetFields); err != nil {
		return governance.Result{}, err
	}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return governance.Result{}, fmt.Errorf("there is a target of this name: %w", governance.ErrConflict)
		}
		return governance.Result{}, fmt.Errorf("create target: %w", err)
	}
	return governance.Result{Data: targetDone{in.ID, 1}}, nil
}

func (s *Service) put(row *targetRow, f targetFields) error {
	sealed := map[string]sealedSecret{}
	if err := json.Unmarshal([]byte(row.Sealed), &sealed); err != nil {
		return fmt.Errorf("target %s: secrets: %w", row.ID, err)
	}
	for name, blob := range f.Sealed {
		if blob == "" {
			delete(sealed, name)
			continue
		}
		sealed[name] = sealedSecret{Blob: blob}
	}
	if err := s.missingSecrets(f, sealed); err != nil {
		return err
	}
	var texts [3]string
	for i, v := range []any{f.Config, sealed, f.Events} {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("target %s: %w", row.ID, err)
		}
		texts[i] = string(b)
	}
	row.Name, row.Kind, row.Connector, row.Mode = f.Name, string(f.Kind), f.Connector, string(f.Mode)
	row.Config, row.Sealed, row.Events = texts[0], texts[1], texts[2]
	return nil
}

func (s *Service) editTx(ctx context.Context, tx *governance.Tx, in EditInput) (governance.Result, error) {
	row, err := targetTx(ctx, tx, in.ID)
	if err != nil {
		return governance.Result{}, err
	}
	if in.IfVersion != 0 && row.Version != in.IfVersion {
		return governance.Result{}, fmt.Errorf("target %s has version %d: %w", in.ID, row.Version, governance.ErrConflict)
	}
	if row.Kind != string(in.Kind) || row.Connector != in.Connector {
		return governance.Result{}, governance.Invalid("kind", "kind and connector of a target do not change; make another")
	}
	before := row.Version
	if err := s.put(&row, in.targetFields); err != nil {
		return governance.Result{}, err
	}
	row.Version, row.UpdatedAt = before+1, govdb.At(s.k.Now())
	res, err := tx.NewUpdate().Model(&row).Column("name", "config", "sealed", "events", "mode", "version", "updated_at").WherePK().Where("version = ?", before).Exec(ctx)
	if err != nil {
		if governance.IsUnique(err) {
			return governance.Result{}, fmt.Errorf("there is a target of this name: %w", governance.ErrConflict)
		}
		return governance.Result{}, fmt.Errorf("edit target %s: %w", in.ID, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return governance.Result{}, fmt.Errorf("target %s: %w", in.ID, governance.ErrRetry)
	}
	if in.Mode != Park { // only Park has parked ones
		if _, err := tx.ExecContext(ctx, "UPDATE integration_delivery SET state = 'pending' WHERE target = ? AND state = 'parked'", in.ID); err != nil {
			return governance.Result{}, fmt.Errorf("edit target %s: %w", in.ID, err)
		}
	}
	return governance.Result{Data: targetDone{in.ID, row.Version}}, nil
}

func (s *Service) removeTx(ctx context.Context, tx *governance.Tx, in RemoveInput) (governance.Result, error) {
	row, err := targetTx(ctx, tx, in.ID)
	if err != nil {
		return governance.Result{}, err
	}
	now := govdb.At(s.k.Now())
	// The name becomes free and the secrets go; the row stays for the log's sake.
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{"UPDATE integration_target SET state = ?, cause = '', name = ?, sealed = '{}', version = version + 1, updated_at = ? WHERE id = ?",
			[]any{TargetRemoved, row.Name + " (removed " + in.ID.String() + ")", now, in.ID}},
		{"UPDATE integration_delivery SET state = ?, done_at = ? WHERE target = ? AND state IN ('pending', 'parked')", []any{Cancelled, now, in.ID}},
		{"UPDATE integration_lane SET next_at = 0 WHERE target = ?", []any{in.ID}},
	} {
		if _, err := tx.ExecContext(ctx, q.sql, q.args...); err != nil {
			return governance.Result{}, fmt.Errorf("remove target %s: %w", in.ID, err)
		}
	}
	return governance.Result{Data: targetDone{in.ID, row.Version + 1}}, nil
}

// targetTx reads a target that was not removed.
func targetTx(ctx context.Context, tx *governance.Tx, id uuid.UUID) (targetRow, error) {
	var row targetRow
	err := tx.NewSelect().Model(&row).Where("id = ? AND state <> ?", id, TargetRemoved).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return row, fmt.Errorf("target %s: %w", id, governance.ErrNotFound)
	}
	if err != nil {
		return row, fmt.Errorf("target %s: %w", id, err)
	}
	return row, nil
}

// Target reads one target.
func (s *Service) Target(ctx context.Context, id governance.ID[Target]) (Target, error) {
	var row targetRow
	err := s.k.DB().Read().NewSelect().Model(&row).Where("id = ? AND state <> ?", id.UUID, TargetRemoved).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Target{}, fmt.Errorf("target %s: %w", id, governance.ErrNotFound)
	}
	if err != nil {
		return Target{}, fmt.Errorf("target %s: %w", id, err)
	}
	return row.target()
}

// Targets lists the targets by name.
func (s *Service) Targets(ctx context.Context) ([]Target, error) {
	var rows []targetRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("state <> ?", TargetRemoved).Order("name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("list targets: %w", err)
	}
	out := make([]Target, 0, len(rows))
	for _, r := range rows {
		t, err := r.target()
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// TargetNames gives the name of every target there is or was, for a log.
func (s *Service) TargetNames(ctx context.Context) (map[governance.ID[Target]]string, error) {
	var rows []targetRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Column("id", "name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("names of targets: %w", err)
	}
	out := map[governance.ID[Target]]string{}
	for _, r := range rows {
		out[governance.ID[Target]{UUID: r.ID}] = r.Name
	}
	return out, nil
}
