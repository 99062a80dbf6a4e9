package playbook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// RunbookDocument is a runbook as people write it.
type RunbookDocument struct {
	Name    string        `yaml:"name" json:"name"`
	Title   string        `yaml:"title" json:"title"`
	Purpose string        `yaml:"purpose" json:"purpose,omitempty"`
	Alerts  []string      `yaml:"alerts" json:"alerts,omitempty"` // keys of alerts that open it begin so
	Steps   []RunbookStep `yaml:"steps" json:"steps"`
}

// RunbookStep is one thing a person does.
type RunbookStep struct {
	ID        string `yaml:"id" json:"id"`
	Title     string `yaml:"title" json:"title"`
	Do        string `yaml:"do" json:"do"`
	Expect    string `yaml:"expect" json:"expect,omitempty"`
	Otherwise string `yaml:"otherwise" json:"otherwise,omitempty"` // what to do when it is not as expected
	Evidence  string `yaml:"evidence" json:"evidence,omitempty"`   // what must be given to check it off; empty: nothing
	Optional  bool   `yaml:"optional" json:"optional,omitempty"`
}

// Runbook is the active version of a runbook.
type Runbook struct {
	Version  int             `json:"version"`
	Hash     string          `json:"hash"`
	Source   string          `json:"source"`
	At       time.Time       `json:"at"`
	Document RunbookDocument `json:"document"`
	Open     int             `json:"open"` // instances
}

// ParseRunbook checks a runbook; a fault names its line and column.
func ParseRunbook(source string) (RunbookDocument, error) {
	var d RunbookDocument
	l, err := decodeYAML(source, &d)
	if err != nil {
		return d, err
	}
	if !slug(d.Name) {
		l.bad("name", "%q is not a name of lower-case letters, digits and dashes", d.Name)
	}
	if d.Title == "" || len(d.Title) > 200 {
		l.bad("title", "is required, at most 200 bytes")
	}
	for i, a := range d.Alerts {
		if len(a) < 3 {
			l.bad(fmt.Sprintf("alerts[%d]", i), "%q would open it for almost every alert", a)
		}
	}
	if len(d.Steps) == 0 || len(d.Steps) > 50 {
		l.bad("steps", "want 1 to 50")
	}
	seen := map[string]bool{}
	for i, st := range d.Steps {
		at := fmt.Sprintf("steps[%d]", i)
		if !slug(st.ID) || seen[st.ID] {
			l.bad(at+".id", "%q is not a name, or is given twice", st.ID)
		}
		seen[st.ID] = true
		if st.Title == "" || st.Do == "" {
			l.bad(at, "title and do are required")
		}
	}
	return d, errors.Join(l.errs...)
}

// PutRunbook stores a new version of a runbook and makes it the active one.
// Instances that are open keep theirs.
func (s *Service) PutRunbook(ctx context.Context, id governance.Identity, source string) (RunbookDocument, error) {
	if err := s.k.Authorize(ctx, id, "playbook:write", governance.Target{}); err != nil {
		return RunbookDocument{}, err
	}
	d, err := ParseRunbook(source)
	if err != nil {
		return d, err
	}
	return d, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		return s.putRunbookTx(ctx, tx, id, d, source)
	})
}

func (s *Service) putRunbookTx(ctx context.Context, tx *governance.Tx, id governance.Identity, d RunbookDocument, source string) error {
	var last int
	if err := tx.NewRaw("SELECT COALESCE(MAX(version), 0) FROM playbook_runbook WHERE name = ?", d.Name).Scan(ctx, &last); err != nil {
		return fmt.Errorf("runbook %s: %w", d.Name, err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE playbook_runbook SET active = ? WHERE name = ? AND active", false, d.Name); err != nil {
		return fmt.Errorf("runbook %s: %w", d.Name, err)
	}
	sum := sha256.Sum256([]byte(source))
	row := &runbookRow{Name: d.Name, Version: last + 1, Source: source, Hash: "sha256:" + hex.EncodeToString(sum[:]), Active: true, Author: string(id.Actor.Person), CreatedAt: govdb.At(s.k.Now())}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return fmt.Errorf("runbook %s: %w: %w", d.Name, governance.ErrRetry, err)
		}
		return fmt.Errorf("runbook %s: %w", d.Name, err)
	}
	_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "runbook.put", Resource: governance.Ref{Kind: "runbook_document", ID: d.Name}, Data: map[string]any{"version": row.Version, "hash": row.Hash}})
	return err
}

func (r runbookRow) runbook() (Runbook, error) {
	d, err := ParseRunbook(r.Source)
	if err != nil {
		return Runbook{}, fmt.Errorf("runbook %s version %d: %w", r.Name, r.Version, err)
	}
	return Runbook{Version: r.Version, Hash: r.Hash, Source: r.Source, At: r.CreatedAt.Time(), Document: d}, nil
}

// Runbooks lists the active runbooks by name.
func (s *Service) Runbooks(ctx context.Context) ([]Runbook, error) {
	var rows []runbookRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("active").Order("name").Limit(500).Scan(ctx); err != nil {
		return nil, fmt.Errorf("list runbooks: %w", err)
	}
	var counts []struct {
		Runbook string
		N       int
	}
	if err := s.k.DB().Read().NewRaw("SELECT runbook, COUNT(*) AS n FROM playbook_instance WHERE state = ? GROUP BY runbook", InstanceOpen).Scan(ctx, &counts); err != nil {
		return nil, fmt.Errorf("open runbooks: %w", err)
	}
	out := make([]Runbook, len(rows))
	for i, r := range rows {
		rb, err := r.runbook()
		if err != nil {
			return nil, err
		}
		for _, c := range counts {
			if c.Runbook == r.Name {
				rb.Open = c.N
			}
		}
		out[i] = rb
	}
	return out, nil
}

func (s *Service) runbookVersion(ctx context.Context, db bun.IDB, name string, version int) (RunbookDocument, error) {
	var row runbookRow
	if err := db.NewSelect().Model(&row).Where("name = ? AND version = ?", name, version).Scan(ctx); err != nil {
		return RunbookDocument{}, fmt.Errorf("runbook %s version %d: %w", name, version, notFound(err))
	}
	rb, err := row.runbook()
	return rb.Document, err
}

// InstanceState is where an opened runbook stands.
type InstanceState string

// The states of an opened runbook.
const (
	InstanceOpen   InstanceState = "open"
	InstanceClosed InstanceState = "closed"
)

// The outcomes of a runbook.
const (
	OutcomeResolved  = "resolved"
	OutcomeNotNeeded = "not_needed"
	OutcomeEscalated = "escalated"
)

// Opening says why a runbook is opened.
type Opening struct {
	Runbook string
	Alert   uuid.UUID
	Tenant  governance.TenantID
	Run     uuid.UUID
	Ticket  string
	Subject string

	alertKey string
}

// Instance is an opened runbook.
type Instance struct {
	ID       uuid.UUID           `json:"id"`
	Runbook  string              `json:"runbook"`
	Version  int                 `json:"version"`
	Title    string              `json:"title"`
	State    InstanceState       `json:"state"`
	Subject  string              `json:"subject"`
	Alert    string              `json:"alert,omitempty"`
	AlertKey string              `json:"alert_key,omitempty"`
	Tenant   governance.TenantID `json:"tenant,omitempty"`
	Run      string              `json:"run,omitempty"`
	Ticket   string              `json:"ticket,omitempty"`
	Outcome  string              `json:"outcome,omitempty"`
	Note     string              `json:"note,omitempty"`
	OpenedBy string              `json:"opened_by"`
	OpenedAt time.Time           `json:"opened_at"`
	ClosedBy string              `json:"closed_by,omitempty"`
	ClosedAt time.Time           `json:"closed_at,omitzero"`
	Steps    []InstanceStep      `json:"steps"`
	Left     int                 `json:"left"` // required steps not checked off
}

// InstanceStep is a step with what was said about it.
type InstanceStep struct {
	RunbookStep
	Result string              `json:"result,omitempty"` // empty: open; done, skipped
	Remark string              `json:"note,omitempty"`
	Given  string              `json:"given,omitempty"` // the evidence
	By     string              `json:"by,omitempty"`
	Person governance.PersonID `json:"person,omitempty"`
	At     time.Time           `json:"at,omitzero"`
}

// Open opens a runbook by hand. With an alert that has it open already, that
// instance is returned.
func (s *Service) Open(ctx context.Context, id governance.Identity, o Opening) (uuid.UUID, error) {
	if err := s.k.Authorize(ctx, id, "runbook:work", governance.Target{Tenant: o.Tenant}); err != nil {
		return uuid.Nil, err
	}
	if len(o.Subject) > 300 || len(o.Ticket) > 200 {
		return uuid.Nil, governance.Invalid("subject", "has at most 300 bytes, ticket 200")
	}
	if o.Alert != uuid.Nil {
		as, err := s.k.Alerts(ctx, governance.AlertFilter{Limit: 200})
		if err != nil {
			return uuid.Nil, err
		}
		i := slices.IndexFunc(as, func(a governance.Alert) bool { return a.ID == o.Alert })
		if i < 0 {
			return uuid.Nil, fmt.Errorf("alert %s is not open: %w", o.Alert, governance.ErrNotFound)
		}
		o.alertKey, o.Tenant = as[i].Key, as[i].Tenant
		if o.Subject == "" {
			o.Subject = as[i].Title
		}
	}
	var out uuid.UUID
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
		out, err = s.openTx(ctx, tx, id, o)
		return err
	})
	return out, err
}

func (s *Service) openTx(ctx context.Context, tx *governance.Tx, id governance.Identity, o Opening) (uuid.UUID, error) {
	var rb runbookRow
	if err := tx.NewSelect().Model(&rb).Where("name = ? AND active", o.Runbook).Scan(ctx); err != nil {
		return uuid.Nil, fmt.Errorf("runbook %s: %w", o.Runbook, notFound(err))
	}
	row := &instanceRow{ID: uuid.Must(uuid.NewV7()), Runbook: rb.Name, Version: rb.Version, State: string(InstanceOpen), AlertKey: o.alertKey, Subject: o.Subject, Tenant: string(o.Tenant),
		Ticket: o.Ticket, OpenedBy: id.Actor.ID, OpenedAt: govdb.At(s.k.Now())}
	var openKey string
	if o.Run != uuid.Nil {
		row.Run, openKey = o.Run.String(), rb.Name+"\x1frun\x1f"+o.Run.String()
	}
	if o.Alert != uuid.Nil {
		row.Alert, openKey = o.Alert.String(), rb.Name+"\x1falert\x1f"+o.Alert.String()
	}
	if openKey != "" {
		row.OpenKey = &openKey
		var have []uuid.UUID
		if err := tx.NewSelect().Model((*instanceRow)(nil)).Column("id").Where("open_key = ?", openKey).Scan(ctx, &have); err != nil {
			return uuid.Nil, fmt.Errorf("runbook %s: %w", o.Runbook, err)
		}
		if len(have) == 1 {
			return have[0], nil
		}
	}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return uuid.Nil, fmt.Errorf("runbook %s: %w: %w", o.Runbook, governance.ErrRetry, err)
		}
		return uuid.Nil, fmt.Errorf("runbook %s: %w", o.Runbook, err)
	}
	ev, err := governance.NewEvent("runbook.opened", o.Tenant, 0, governance.RefTo("runbook", row.ID), map[string]any{"runbook": rb.Name, "instance": row.ID, "alert": row.Alert, "run": row.Run, "ticket": o.Ticket, "subject": o.Subject})
	if err != nil {
		return uuid.Nil, err
	}
	_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "runbook.open", Tenant: o.Tenant, Resource: governance.RefTo("runbook", row.ID), Ticket: o.Ticket,
		Data: map[string]any{"runbook": rb.Name, "version": rb.Version, "alert": row.Alert, "alert_key": row.AlertKey, "run": row.Run, "subject": o.Subject}}, ev)
	return row.ID, err
}

// OpenForAlerts opens the runbooks that open alerts ask for, once per alert.
func (s *Service) OpenForAlerts(ctx context.Context) error {
	rbs, err := s.Runbooks(ctx)
	if err != nil {
		return err
	}
	as, err := s.k.Alerts(ctx, governance.AlertFilter{Limit: 200})
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range as {
		for _, rb := range rbs {
			if slices.ContainsFunc(rb.Document.Alerts, func(p string) bool { return strings.HasPrefix(a.Key, p) }) {
				errs = append(errs, s.openForAlert(ctx, rb, a))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Service) openForAlert(ctx context.Context, rb Runbook, a governance.Alert) error {
	had, err := s.k.DB().Read().NewSelect().Model((*instanceRow)(nil)).Where("runbook = ? AND alert = ?", rb.Document.Name, a.ID.String()).Exists(ctx)
	if err != nil || had {
		return err
	}
	o := Opening{Runbook: rb.Document.Name, Alert: a.ID, Tenant: a.Tenant, Subject: a.Title, alertKey: a.Key}
	for _, l := range a.Links {
		if id, err := uuid.Parse(l.ID); err == nil && l.Kind == "playbook_run" {
			o.Run = id
		}
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.openTx(ctx, tx, governance.System("runbooks"), o)
		return err
	})
}

// Check is what somebody says about one step of an opened runbook.
type Check struct {
	Step     string
	Skip     bool // not done, for the reason in Note
	Note     string
	Evidence string
}

func (s *Service) instanceTx(ctx context.Context, tx *governance.Tx, instance uuid.UUID) (instanceRow, error) {
	var row instanceRow
	// Locks the row: a check and a closing of the same instance follow one another.
	err := tx.NewRaw("UPDATE playbook_instance SET state = state WHERE id = ? RETURNING *", instance).Scan(ctx, &row)
	if err != nil {
		return row, fmt.Errorf("runbook %s: %w", instance, notFound(err))
	}
	if InstanceState(row.State) != InstanceOpen {
		return row, fmt.Errorf("runbook %s is closed: %w", instance, governance.ErrConflict)
	}
	return row, nil
}

// CheckStep checks a step off. Each is checked off once, by a person.
func (s *Service) CheckStep(ctx context.Context, id governance.Identity, instance uuid.UUID, c Check) error {
	if err := s.workPermitted(ctx, id); err != nil {
		return err
	}
	if len(c.Note) > 2000 || len(c.Evidence) > 4000 || strings.ContainsRune(c.Note+c.Evidence, 0) {
		return governance.Invalid("note", "has at most 2000 bytes, evidence 4000")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row, err := s.instanceTx(ctx, tx, instance)
		if err != nil {
			return err
		}
		d, err := s.runbookVersion(ctx, tx, row.Runbook, row.Version)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(d.Steps, func(st RunbookStep) bool { return st.ID == c.Step })
		if i < 0 {
			return fmt.Errorf("step %q: %w", c.Step, governance.ErrNotFound)
		}
		st := d.Steps[i]
		switch {
		case c.Skip && len(strings.TrimSpace(c.Note)) < 3:
			return governance.Invalid("note", "say why the step is skipped")
		case !c.Skip && st.Evidence != "" && strings.TrimSpace(c.Evidence) == "":
			return governance.Invalid("evidence", "is required: %s", st.Evidence)
		}
		result := "done"
		if c.Skip {
			result = "skipped"
		}
		check := &checkRow{Instance: instance, Step: c.Step, Result: result, Note: c.Note, Evidence: c.Evidence, By: id.Actor.ID, Person: string(id.Actor.Person), At: govdb.At(s.k.Now())}
		res, err := tx.NewInsert().Model(check).On("CONFLICT (instance, step) DO NOTHING").Exec(ctx)
		if err != nil {
			return fmt.Errorf("check step %s: %w", c.Step, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("step %s is checked off: %w", c.Step, governance.ErrConflict)
		}
		evidence, err := governance.DigestOf("reeve/runbook-evidence/v1", c.Evidence)
		if err != nil {
			return err
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "runbook.check", Tenant: governance.TenantID(row.Tenant), Resource: governance.RefTo("runbook", instance), Ticket: row.Ticket,
			Data: map[string]any{"runbook": row.Runbook, "version": row.Version, "step": c.Step, "result": result, "note": c.Note, "evidence_digest": evidence}})
		return err
	})
}

// workPermitted admits people only: a runbook is what no automation should do.
func (s *Service) workPermitted(ctx context.Context, id governance.Identity) error {
	if err := s.k.Authorize(ctx, id, "runbook:work", governance.Target{}); err != nil {
		return err
	}
	if id.Actor.Person == "" {
		return &governance.DeniedError{Action: "runbook.check", Rule: "person", Reason: "only a person works on a runbook"}
	}
	return nil
}

// SetTicket links an opened runbook to a ticket.
func (s *Service) SetTicket(ctx context.Context, id governance.Identity, instance uuid.UUID, ticket string) error {
	if err := s.k.Authorize(ctx, id, "runbook:work", governance.Target{}); err != nil {
		return err
	}
	if ticket == "" || len(ticket) > 200 || strings.ContainsRune(ticket, 0) {
		return governance.Invalid("ticket", "is required, at most 200 bytes")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row, err := s.instanceTx(ctx, tx, instance)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE playbook_instance SET ticket = ? WHERE id = ?", ticket, instance); err != nil {
			return fmt.Errorf("runbook %s: %w", instance, err)
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "runbook.ticket", Tenant: governance.TenantID(row.Tenant), Resource: governance.RefTo("runbook", instance), Ticket: ticket,
			Data: map[string]any{"before": row.Ticket}})
		return err
	})
}

// Close ends an opened runbook. Resolved needs every required step checked off.
func (s *Service) Close(ctx context.Context, id governance.Identity, instance uuid.UUID, outcome, note string) error {
	if err := s.workPermitted(ctx, id); err != nil {
		return err
	}
	if !slices.Contains([]string{OutcomeResolved, OutcomeNotNeeded, OutcomeEscalated}, outcome) {
		return governance.Invalid("outcome", "%q is not one of resolved, not_needed, escalated", outcome)
	}
	if len(note) > 2000 || strings.ContainsRune(note, 0) || outcome != OutcomeResolved && len(strings.TrimSpace(note)) < 3 {
		return governance.Invalid("note", "say why; at most 2000 bytes")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row, err := s.instanceTx(ctx, tx, instance)
		if err != nil {
			return err
		}
		in, err := s.withSteps(ctx, tx, row)
		if err != nil {
			return err
		}
		if outcome == OutcomeResolved && in.Left > 0 {
			return fmt.Errorf("runbook %s: %d required steps are not checked off: %w", instance, in.Left, governance.ErrConflict)
		}
		_, err = tx.ExecContext(ctx, "UPDATE playbook_instance SET state = ?, open_key = NULL, outcome = ?, note = ?, closed_by = ?, closed_at = ? WHERE id = ?",
			InstanceClosed, outcome, note, id.Actor.ID, govdb.At(s.k.Now()), instance)
		if err != nil {
			return fmt.Errorf("runbook %s: %w", instance, err)
		}
		ev, err := governance.NewEvent("runbook.closed", in.Tenant, 0, governance.RefTo("runbook", instance), map[string]any{"runbook": row.Runbook, "instance": instance, "outcome": outcome, "ticket": row.Ticket})
		if err != nil {
			return err
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "runbook.close", Tenant: in.Tenant, Resource: governance.RefTo("runbook", instance), Ticket: row.Ticket,
			Data: map[string]any{"runbook": row.Runbook, "version": row.Version, "outcome": outcome, "note": note, "left": in.Left}}, ev)
		return err
	})
}

func (s *Service) withSteps(ctx context.Context, db bun.IDB, row instanceRow) (Instance, error) {
	in := Instance{ID: row.ID, Runbook: row.Runbook, Version: row.Version, State: InstanceState(row.State), Subject: row.Subject, Alert: row.Alert, AlertKey: row.AlertKey, Tenant: governance.TenantID(row.Tenant),
		Run: row.Run, Ticket: row.Ticket, Outcome: row.Outcome, Note: row.Note, OpenedBy: row.OpenedBy, OpenedAt: row.OpenedAt.Time(), ClosedBy: row.ClosedBy, ClosedAt: row.ClosedAt.Time(), Steps: []InstanceStep{}}
	d, err := s.runbookVersion(ctx, db, row.Runbook, row.Version)
	if err != nil {
		return in, err
	}
	in.Title = d.Title
	var checks []checkRow
	if err := db.NewSelect().Model(&checks).Where("instance = ?", row.ID).Scan(ctx); err != nil {
		return in, fmt.Errorf("checks of %s: %w", row.ID, err)
	}
	for _, st := range d.Steps {
		is := InstanceStep{RunbookStep: st}
		for _, c := range checks {
			if c.Step == st.ID {
				is.Result, is.Remark, is.Given, is.By, is.Person, is.At = c.Result, c.Note, c.Evidence, c.By, governance.PersonID(c.Person), c.At.Time()
			}
		}
		if is.Result == "" && !st.Optional {
			in.Left++
		}
		in.Steps = append(in.Steps, is)
	}
	return in, nil
}

// Instance reads one opened runbook with its steps.
func (s *Service) Instance(ctx context.Context, id uuid.UUID) (Instance, error) {
	var row instanceRow
	if err := s.k.DB().Read().NewSelect().Model(&row).Where("id = ?", id).Scan(ctx); err != nil {
		return Instance{}, fmt.Errorf("runbook %s: %w", id, notFound(err))
	}
	return s.withSteps(ctx, s.k.DB().Read(), row)
}

// InstanceFilter selects opened runbooks; the zero value lists all, newest first.
type InstanceFilter struct {
	Runbook string
	State   InstanceState
	Tenant  governance.TenantID
	Before  uuid.UUID
	Limit   int // default 50, at most 200
}

// Instances lists opened runbooks.
func (s *Service) Instances(ctx context.Context, f InstanceFilter) ([]Instance, error) {
	var rows []instanceRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Order("id DESC").Limit(page(f.Limit))
	for column, value := range map[string]string{"runbook": f.Runbook, "state": string(f.State), "tenant": string(f.Tenant)} {
		if value != "" {
			q = q.Where("? = ?", bun.Ident(column), value)
		}
	}
	if f.Before != uuid.Nil {
		q = q.Where("id < ?", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list runbooks: %w", err)
	}
	out := make([]Instance, len(rows))
	for i, r := range rows {
		in, err := s.withSteps(ctx, s.k.DB().Read(), r)
		if err != nil {
			return nil, err
		}
		out[i] = in
	}
	return out, nil
}
