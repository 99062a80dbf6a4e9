package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/alertroute"
)

// planAlerts puts every alert that changed under its routes and says when each of its
// groups is to be looked at.
func (k *Kernel) planAlerts(ctx context.Context) error {
	var changes []alertChangeRow
	if err := k.db.Read().NewSelect().Model(&changes).Order("id").Limit(200).Scan(ctx); err != nil {
		return fmt.Errorf("changed alerts: %w", err)
	}
	if len(changes) == 0 {
		return nil
	}
	ids, alerts, since := make([]uuid.UUID, 0, len(changes)), []uuid.UUID{}, map[uuid.UUID]time.Time{}
	for _, c := range changes {
		ids = append(ids, c.ID)
		if _, ok := since[c.Alert]; !ok {
			since[c.Alert] = c.At.Time() // the group's wait runs from the first change, not from when it was seen
			alerts = append(alerts, c.Alert)
		}
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		doc, err := activeRoutesTx(ctx, tx)
		if err != nil {
			return err
		}
		// Deleted first: what changes while this goes on leaves a row of its own.
		if _, err := tx.NewDelete().Model((*alertChangeRow)(nil)).Where("id IN (?)", bun.List(ids)).Exec(ctx); err != nil {
			return fmt.Errorf("changed alerts: %w", err)
		}
		var rows []alertRow
		if err := tx.NewSelect().Model(&rows).Where("id IN (?)", bun.List(alerts)).Order("id").Scan(ctx); err != nil {
			return fmt.Errorf("changed alerts: %w", err)
		}
		for _, r := range rows {
			a, err := r.alert()
			if err != nil {
				return err
			}
			if err := k.planAlertTx(ctx, tx, doc.Document, a, since[a.ID]); err != nil {
				return fmt.Errorf("alert %s: %w", a.ID, err)
			}
		}
		return nil
	})
}

func (k *Kernel) planAlertTx(ctx context.Context, tx *Tx, doc alertroute.Document, a Alert, since time.Time) error {
	var have []alertEntryRow
	if err := tx.NewSelect().Model(&have).Where("alert = ?", a.ID).Scan(ctx); err != nil {
		return err
	}
	entry := func(route string) *alertEntryRow {
		for i := range have {
			if have[i].Route == route {
				return &have[i]
			}
		}
		return nil
	}
	routes := doc.For(a.facts())
	for _, r := range routes {
		e, grp := entry(r.Name), r.Group(a.facts())
		switch {
		case e == nil && a.State == AlertResolved:
			continue // it came and went before anybody looked
		case e == nil:
			e = &alertEntryRow{Alert: a.ID, Route: r.Name, Grp: grp, Open: true}
			if _, err := tx.NewInsert().Model(e).Exec(ctx); err != nil {
				return err
			}
		case e.Grp != grp || !e.Open && a.State != AlertResolved:
			e.Grp, e.Open = grp, true
			if _, err := tx.NewUpdate().Model(e).WherePK().Exec(ctx); err != nil {
				return err
			}
		}
		if err := k.dueTx(ctx, tx, r, grp, a, since); err != nil {
			return err
		}
	}
	for _, e := range have {
		if e.Open && !slices.ContainsFunc(routes, func(r alertroute.Route) bool { return r.Name == e.Route }) {
			if _, err := tx.ExecContext(ctx, "UPDATE gov_alert_entry SET open = ? WHERE alert = ? AND route = ?", false, e.Alert, e.Route); err != nil {
				return err
			}
		}
	}
	return nil
}

// dueTx says when the group of a changed alert is looked at: a critical alert and an
// acknowledgement at once, else after the group's wait and not within its interval.
func (k *Kernel) dueTx(ctx context.Context, tx *Tx, r alertroute.Route, grp string, a Alert, since time.Time) error {
	var rows []alertGroupRow
	if err := tx.NewSelect().Model(&rows).Where("id = ?", grp).Scan(ctx); err != nil {
		return err
	}
	labels, err := json.Marshal(r.Labels(a.facts()))
	if err != nil {
		return err
	}
	g := alertGroupRow{ID: grp, Route: r.Name, Labels: string(labels)}
	if len(rows) == 1 {
		g = rows[0]
	}
	at := since
	if a.Severity != Critical && a.State != AlertAcked && !alertroute.Protected(a.Key) {
		at = since.Add(r.Wait(string(a.Severity)))
		if next := g.ToldAt.Time().Add(r.Interval()); g.ToldAt != 0 && next.After(at) {
			at = next
		}
	}
	g.due(at)
	_, err = tx.NewInsert().Model(&g).On("CONFLICT (id) DO UPDATE").Set("due_at = EXCLUDED.due_at").Exec(ctx)
	return err
}

// flushAlerts makes the notices of every group that is due.
func (k *Kernel) flushAlerts(ctx context.Context) error {
	var ids []string
	err := k.db.Read().NewRaw("SELECT id FROM gov_alert_group WHERE due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT 100", atMicros(k.Now())).Scan(ctx, &ids)
	if err != nil {
		return fmt.Errorf("due alert groups: %w", err)
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
			if err := k.flushGroupTx(ctx, tx, id); err != nil {
				return fmt.Errorf("alert group %s: %w", id, err)
			}
			return nil
		}))
	}
	return errors.Join(errs...)
}

// flush is one look at one group.
type flush struct {
	k        *Kernel
	now      time.Time
	doc      alertroute.Document
	route    alertroute.Route
	group    alertGroupRow
	labels   alertroute.Labels
	silences []StoredSilence
	critical []Alert // open, of the same labels, not silenced
	told     map[uuid.UUID]map[string]toldNotice
	notices  []*alertNoticeRow
	items    []*alertNoticeItemRow
}

type toldNotice struct {
	kind     NoticeKind
	severity Severity
}

func (k *Kernel) flushGroupTx(ctx context.Context, tx *Tx, id string) error {
	f := flush{k: k, now: k.Now(), told: map[uuid.UUID]map[string]toldNotice{}}
	if err := tx.NewSelect().Model(&f.group).Where("id = ?", id).Scan(ctx); err != nil {
		return err
	}
	doc, err := activeRoutesTx(ctx, tx)
	if err != nil {
		return err
	}
	f.doc = doc.Document
	f.group.DueAt = 0
	route, ok := f.doc.Route(f.group.Route)
	if !ok { // its alerts were routed anew when the route went
		_, err := tx.NewUpdate().Model(&f.group).Column("due_at").WherePK().Exec(ctx)
		return err
	}
	f.route = route
	if f.labels, err = f.group.labels(); err != nil {
		return err
	}
	entries, alerts, err := f.load(ctx, tx)
	if err != nil {
		return err
	}
	repeat := false
	for i := range entries {
		repeat = repeat || f.repeats(entries[i], alerts[i])
	}
	for i := range entries {
		e := &entries[i]
		f.look(e, alerts[i], repeat)
		if _, err := tx.NewUpdate().Model(e).WherePK().Exec(ctx); err != nil {
			return err
		}
	}
	for _, n := range f.notices {
		if _, err := tx.NewInsert().Model(n).Exec(ctx); err != nil {
			return err
		}
	}
	for _, it := range f.items {
		if _, err := tx.NewInsert().Model(it).Exec(ctx); err != nil {
			return err
		}
	}
	_, err = tx.NewUpdate().Model(&f.group).Column("told_at", "due_at").WherePK().Exec(ctx)
	return err
}

func (f *flush) load(ctx context.Context, tx *Tx) ([]alertEntryRow, []Alert, error) {
	var entries []alertEntryRow
	if err := tx.NewSelect().Model(&entries).Where("grp = ? AND open", f.group.ID).Order("alert").Scan(ctx); err != nil || len(entries) == 0 {
		return nil, nil, err
	}
	ids := make([]uuid.UUID, len(entries))
	for i, e := range entries {
		ids[i] = e.Alert
	}
	var rows []alertRow
	if err := tx.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Order("id").Scan(ctx); err != nil {
		return nil, nil, err
	}
	byID := map[uuid.UUID]Alert{}
	for _, r := range rows {
		a, err := r.alert()
		if err != nil {
			return nil, nil, err
		}
		byID[a.ID] = a
	}
	alerts := make([]Alert, len(entries))
	for i, e := range entries {
		alerts[i] = byID[e.Alert]
	}
	var told []struct {
		Alert    uuid.UUID
		Notifier string
		Kind     string
		Severity string
	}
	err := tx.NewRaw(`SELECT i.alert, n.notifier, n.kind, i.severity FROM gov_alert_notice_item i JOIN gov_alert_notice n ON n.id = i.notice
		WHERE i.alert IN (?) ORDER BY n.created_at, n.id`, bun.List(ids)).Scan(ctx, &told)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range told {
		if f.told[t.Alert] == nil {
			f.told[t.Alert] = map[string]toldNotice{}
		}
		f.told[t.Alert][t.Notifier] = toldNotice{NoticeKind(t.Kind), Severity(t.Severity)}
	}
	if f.silences, err = standingSilencesTx(ctx, tx, f.now); err != nil {
		return nil, nil, err
	}
	var worst []alertRow
	q := tx.NewSelect().Model(&worst).Where("severity = ? AND state <> ?", Critical, AlertResolved)
	if tenant, ok := f.labels["tenant"]; ok {
		q = q.Where("tenant = ?", tenant)
	}
	if err := q.Order("id").Scan(ctx); err != nil {
		return nil, nil, err
	}
	for _, r := range worst {
		a, err := r.alert()
		if err != nil {
			return nil, nil, err
		}
		// One that is silenced itself must not take others with it.
		if f.labels.Same(f.route.Labels(a.facts())) && f.silencedBy(a) == nil {
			f.critical = append(f.critical, a)
		}
	}
	return entries, alerts, nil
}

func (f *flush) silencedBy(a Alert) *StoredSilence {
	for i := range f.silences {
		if f.silences[i].takes(a.facts()) {
			return &f.silences[i]
		}
	}
	return nil
}

// muted says why an alert is kept from the notifiers, and when to ask again.
func (f *flush) muted(a Alert) (why string, until time.Time) {
	if alertroute.Protected(a.Key) {
		return "", time.Time{}
	}
	again := f.now.Add(f.route.Interval()) // what mutes it may end before its time
	if s := f.silencedBy(a); s != nil {
		if s.Until.Before(again) {
			again = s.Until
		}
		return mutedBySilence(s.ID), again
	}
	if a.Severity != Critical && len(f.critical) > 0 {
		return "inhibited:" + f.critical[0].ID.String(), again
	}
	return "", time.Time{}
}

// lasting tells whether an alert is repeated and escalated: information is not.
func (f *flush) lasting(e alertEntryRow, a Alert) bool {
	return a.State == AlertFiring && e.Told == string(AlertFiring) && a.Severity != Info && e.Severity == string(a.Severity)
}

func (f *flush) repeats(e alertEntryRow, a Alert) bool {
	why, _ := f.muted(a)
	return why == "" && f.lasting(e, a) && !f.now.Before(e.ToldAt.Time().Add(f.route.Repeat()))
}

// escalateAt is when nobody will have acknowledged for too long.
func (f *flush) escalateAt(e alertEntryRow) (time.Time, bool) {
	if e.Step+1 >= len(f.route.Steps) {
		return time.Time{}, false
	}
	return e.StepAt.Time().Add(f.route.Steps[e.Step+1].After.Duration), true
}

// look decides about one alert of the group, and when to look again.
func (f *flush) look(e *alertEntryRow, a Alert, repeat bool) {
	now := atMicros(f.now)
	e.Muted = ""
	switch a.State {
	case AlertResolved:
		f.tellAgain(a, NoticeResolved)
		e.Told, e.Open = string(AlertResolved), false
		return
	case AlertAcked:
		f.tellAgain(a, NoticeAcked)
		e.Told = string(AlertAcked)
		return
	}
	if why, until := f.muted(a); why != "" {
		e.Muted = why
		f.group.due(until)
		return
	}
	if !f.lasting(*e, a) {
		if e.Told != string(AlertFiring) || e.Severity != string(a.Severity) {
			f.raise(*e, a)
			e.Told, e.Severity, e.ToldAt, e.StepAt = string(AlertFiring), string(a.Severity), now, now
			f.group.ToldAt = now
		}
	} else if at, ok := f.escalateAt(*e); ok && !f.now.Before(at) {
		e.Step++
		f.tell(a, NoticeEscalated, f.receivers(e.Step, e.Step, a))
		e.ToldAt, e.StepAt, f.group.ToldAt = now, now, now
	} else if repeat { // one of the group is due, so that all are told together
		f.tell(a, NoticeRepeated, f.receivers(0, e.Step, a))
		e.ToldAt, f.group.ToldAt = now, now
	}
	if a.Severity == Info {
		return
	}
	f.group.due(e.ToldAt.Time().Add(f.route.Repeat()))
	if at, ok := f.escalateAt(*e); ok {
		f.group.due(at)
	}
}

// raise tells of an alert for the first time, or that it grew worse. A notifier that
// knows it from another route is not told twice.
func (f *flush) raise(e alertEntryRow, a Alert) {
	var to []string
	for _, n := range f.receivers(0, e.Step, a) {
		if t, ok := f.told[a.ID][n]; !ok || !t.kind.raises() || rank(t.severity) < rank(a.Severity) {
			to = append(to, n)
		}
	}
	f.tell(a, NoticeRaised, to)
}

// tellAgain tells everyone who heard of the alert, and has not heard this, what became
// of it.
func (f *flush) tellAgain(a Alert, kind NoticeKind) {
	var to []string
	for n, t := range f.told[a.ID] {
		if t.kind.raises() || t.kind == NoticeAcked && kind == NoticeResolved {
			to = append(to, n)
		}
	}
	slices.Sort(to)
	f.tell(a, kind, to)
	if len(to) > 0 && kind == NoticeResolved {
		f.group.ToldAt = atMicros(f.now)
	}
}

// receivers are the notifiers of some steps. That alerts do not reach a notifier is
// told by the others, if there are any.
func (f *flush) receivers(from, to int, a Alert) []string {
	have := f.k.notifierNames()
	var out []string
	for _, s := range f.route.Steps[min(from, len(f.route.Steps)-1):min(to+1, len(f.route.Steps))] {
		for _, n := range f.doc.Notifiers(s.Receiver, have) {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	if len(out) > 1 {
		out = slices.DeleteFunc(out, func(n string) bool { return a.Key == undeliveredAlert(n) })
	}
	return out
}

// tell adds an alert to the group's notice of a kind for each notifier.
func (f *flush) tell(a Alert, kind NoticeKind, to []string) {
	for _, name := range to {
		i := slices.IndexFunc(f.notices, func(n *alertNoticeRow) bool { return n.Notifier == name && n.Kind == string(kind) })
		if i < 0 {
			i = len(f.notices)
			f.notices = append(f.notices, &alertNoticeRow{ID: uuid.Must(uuid.NewV7()), Notifier: name, Kind: string(kind), Grp: f.group.ID, State: string(NoticeWaiting), Tries: notifyTries,
				NextAt: atMicros(f.now), CreatedAt: atMicros(f.now)})
		}
		f.items = append(f.items, &alertNoticeItemRow{Notice: f.notices[i].ID, Alert: a.ID, Severity: string(a.Severity)})
	}
}
