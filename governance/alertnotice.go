package governance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/alertroute"
	"github.com/reevehq/reeve/governance/govdb"
)

// NoticeKind is what a notice tells.
type NoticeKind string

// The kinds of notices.
const (
	NoticeRaised    NoticeKind = "raised"
	NoticeRepeated  NoticeKind = "repeated"  // nobody acknowledged it for the repeat interval
	NoticeEscalated NoticeKind = "escalated" // nobody acknowledged it, and now these are told
	NoticeAcked     NoticeKind = "acknowledged"
	NoticeResolved  NoticeKind = "resolved"
)

func (k NoticeKind) raises() bool {
	return k == NoticeRaised || k == NoticeRepeated || k == NoticeEscalated
}

// NoticeState is where a notice stands.
type NoticeState string

// The states of a notice.
const (
	NoticeWaiting NoticeState = "waiting"
	NoticeSent    NoticeState = "sent"
	NoticeDead    NoticeState = "dead" // the notifier would not take it
	NoticeMoot    NoticeState = "moot" // what it had to tell was over before it went out
)

// Notice is one message about the alerts of one group. What stands in it may leave the
// server: its texts went through alertroute.Redact.
type Notice struct {
	ID      uuid.UUID // idempotency key: a repeated try has the same
	Kind    NoticeKind
	Group   string // id of the group, the same for all notices about it
	Title   string // of the group
	Alerts  []Alert
	Waiting int // alerts of the group that nobody has in hand
}

// NoticeNotifier is a [Notifier] that can also say what became of an alert, and tell
// of several in one message. Implementations: package alerting.
type NoticeNotifier interface {
	Notifier
	Tell(ctx context.Context, n Notice) error
}

// Summary makes one alert of a notice, for a notifier that knows only alerts.
func (n Notice) Summary() Alert {
	if len(n.Alerts) == 1 {
		a := n.Alerts[0]
		if n.Kind != NoticeRaised {
			a.ID, a.Title = n.ID, string(n.Kind)+": "+a.Title
		}
		return a
	}
	out := Alert{ID: n.ID, Key: "group:" + n.Group, Severity: Info, Title: fmt.Sprintf("%d alerts: %s", len(n.Alerts), n.Title), State: AlertFiring, Links: []Link{}}
	var lines []string
	for i, a := range n.Alerts {
		if rank(a.Severity) > rank(out.Severity) {
			out.Severity = a.Severity
		}
		if i == 0 {
			out.Tenant, out.FirstAt, out.LastAt = a.Tenant, a.FirstAt, a.LastAt
		}
		if a.Tenant != out.Tenant {
			out.Tenant = ""
		}
		out.Times += a.Times
		if a.FirstAt.Before(out.FirstAt) {
			out.FirstAt = a.FirstAt
		}
		if a.LastAt.After(out.LastAt) {
			out.LastAt = a.LastAt
		}
		if i < 20 {
			lines = append(lines, a.Title)
			out.Links = append(out.Links, a.Links...)
		}
	}
	if more := len(n.Alerts) - 20; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	out.Body = strings.Join(lines, "\n")
	return out
}

const (
	notifyDeadline = 10 * time.Second
	notifyTries    = 8
	alertTurn      = 500 * time.Millisecond
)

func undeliveredAlert(notifier string) string { return "alert.undelivered:" + notifier }

// alertLoops joins the dispatcher to Run, and a lane for each notifier: one that hangs
// keeps nobody else waiting.
func (k *Kernel) alertLoops() {
	due := func(query string, args ...any) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			var n int
			err := k.db.Read().NewRaw("SELECT COUNT(*) FROM ("+query+" LIMIT 1) AS due", append(args, atMicros(k.Now()))...).Scan(ctx, &n)
			return n > 0, err
		}
	}
	k.loops = append(k.loops, loop{name: "alerts", every: alertTurn, fn: func(ctx context.Context) error {
		return errors.Join(k.planAlerts(ctx), k.flushAlerts(ctx), k.sendLost(ctx))
	}, due: due(`SELECT 1 FROM (SELECT 0 AS at FROM gov_alert_change UNION ALL SELECT due_at AS at FROM gov_alert_group WHERE due_at > 0
		UNION ALL SELECT next_at AS at FROM gov_alert_notice WHERE state = 'waiting' AND notifier NOT IN (?)) AS work WHERE at <= ?`, bun.List(append(k.notifierNames(), "")))})
	for _, n := range k.opts.Notifiers {
		k.loops = append(k.loops, loop{name: "alerts:" + n.Name(), every: alertTurn, fn: func(ctx context.Context) error { return k.sendNotices(ctx, n) },
			due: due("SELECT 1 FROM gov_alert_notice WHERE state = 'waiting' AND notifier = ? AND next_at <= ?", n.Name())})
	}
}

// DeliverAlerts is one turn of what Run does about alerts: it routes what changed, makes
// the notices that are due and sends them.
func (k *Kernel) DeliverAlerts(ctx context.Context) error {
	errs := []error{k.planAlerts(ctx), k.flushAlerts(ctx), k.sendLost(ctx)}
	for _, n := range k.opts.Notifiers {
		errs = append(errs, k.sendNotices(ctx, n))
	}
	return errors.Join(errs...)
}

func (k *Kernel) sendNotices(ctx context.Context, n Notifier) error {
	return k.sendDue(ctx, n, "notifier = ?", n.Name())
}

// sendLost fails what is for a notifier that is not there any more.
func (k *Kernel) sendLost(ctx context.Context) error {
	return k.sendDue(ctx, nil, "notifier NOT IN (?)", bun.List(append(k.notifierNames(), "")))
}

func (k *Kernel) sendDue(ctx context.Context, n Notifier, where string, arg any) error {
	var due []alertNoticeRow
	err := k.db.Read().NewSelect().Model(&due).Where("state = ? AND next_at <= ?", NoticeWaiting, atMicros(k.Now())).Where(where, arg).
		Order("created_at", "id").Limit(50).Scan(ctx)
	if err != nil {
		return fmt.Errorf("due notices: %w", err)
	}
	var errs []error
	for _, row := range due {
		if ctx.Err() != nil {
			break
		}
		if err := k.sendNotice(ctx, row, n); err != nil {
			errs = append(errs, fmt.Errorf("notice %s to %s: %w", row.ID, row.Notifier, err))
		}
	}
	return errors.Join(errs...)
}

func (k *Kernel) sendNotice(ctx context.Context, row alertNoticeRow, n Notifier) error {
	notice, first, err := k.notice(ctx, row)
	if err != nil {
		return err
	}
	if first != 0 { // not before the notice that must go first has been tried again
		return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE gov_alert_notice SET next_at = ? WHERE id = ? AND state = ?", first+1, row.ID, NoticeWaiting)
			return err
		})
	}
	if len(notice.Alerts) == 0 {
		return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE gov_alert_notice SET state = ? WHERE id = ? AND state = ?", NoticeMoot, row.ID, NoticeWaiting)
			return err
		})
	}
	began := k.Now()
	sent := errors.New("no such notifier is configured")
	if n != nil {
		sent = callNotifier(ctx, n, notice)
	}
	if sent != nil && ctx.Err() != nil {
		return nil // the server stops: it did not fail, and goes out again
	}
	// What was sent is written down even when the turn has ended meanwhile.
	done, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyDeadline)
	defer cancel()
	return k.db.Do(done, func(ctx context.Context, tx *Tx) error {
		return k.attemptTx(ctx, tx, row, notice, began, sent)
	})
}

func callNotifier(ctx context.Context, n Notifier, notice Notice) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the notifier panicked")
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, notifyDeadline)
	defer cancel()
	if t, ok := n.(NoticeNotifier); ok {
		return t.Tell(ctx, notice)
	}
	if notice.Kind.raises() {
		return n.Notify(ctx, notice.Summary())
	}
	return nil // it cannot say what became of an alert
}

// attemptTx writes down one try.
func (k *Kernel) attemptTx(ctx context.Context, tx *Tx, row alertNoticeRow, notice Notice, began time.Time, sent error) error {
	now := k.Now()
	row.Attempts++
	row.State, row.Error, row.SentAt = string(NoticeSent), "", atMicros(now)
	if sent != nil {
		row.State, row.Error, row.SentAt = string(NoticeWaiting), clip(sent.Error(), 500), 0
		row.NextAt = atMicros(now.Add(time.Duration(30<<min(row.Attempts-row.Tries+notifyTries, 8)) * time.Second))
		if row.Attempts >= row.Tries {
			row.State = string(NoticeDead)
		}
	}
	if _, err := tx.NewUpdate().Model(&row).Column("attempts", "state", "error", "sent_at", "next_at").WherePK().Exec(ctx); err != nil {
		return err
	}
	try := &alertAttemptRow{Notice: row.ID, N: row.Attempts, At: atMicros(began), Took: now.Sub(began).Microseconds(), Error: row.Error}
	if _, err := tx.NewInsert().Model(try).Exec(ctx); err != nil {
		return err
	}
	key := undeliveredAlert(row.Notifier)
	switch {
	case sent == nil:
		return k.reachedTx(ctx, tx, row.Notifier)
	case row.State != string(NoticeDead) || !slices.ContainsFunc(notice.Alerts, func(a Alert) bool { return a.Key != key }):
		return nil
	}
	a := notice.Alerts[0]
	_, err := k.AlertTx(ctx, tx, Alert{Key: key, Severity: Critical, Title: "Alerts do not reach " + row.Notifier,
		Body: fmt.Sprintf("The notifier refused an alert %d times.", row.Attempts), Links: []Link{{Title: a.Title, Kind: "alert", ID: a.ID.String()}}})
	return err
}

// reachedTx closes the alert that a notifier is not reached, unless something that is
// still open was never taken.
func (k *Kernel) reachedTx(ctx context.Context, tx *Tx, notifier string) error {
	open, err := tx.NewSelect().Model((*alertRow)(nil)).Where("open_key = ?", undeliveredAlert(notifier)).Exists(ctx)
	if err != nil || !open {
		return err
	}
	var lost int
	err = tx.NewRaw(`SELECT COUNT(*) FROM gov_alert_notice n JOIN gov_alert_notice_item i ON i.notice = n.id JOIN gov_alert a ON a.id = i.alert
		WHERE n.notifier = ? AND n.state = ? AND a.state <> ?`, notifier, NoticeDead, AlertResolved).Scan(ctx, &lost)
	if err != nil || lost > 0 {
		return err
	}
	return k.ResolveAlertTx(ctx, tx, undeliveredAlert(notifier))
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// notice gathers what a notice tells now: what is over meanwhile is left out. A time
// says that an earlier notice about the same alert, due then, must go first.
func (k *Kernel) notice(ctx context.Context, row alertNoticeRow) (n Notice, first govdb.Micros, err error) {
	n = Notice{ID: row.ID, Kind: NoticeKind(row.Kind), Group: row.Grp}
	db := k.db.Read()
	var g alertGroupRow
	if err := db.NewSelect().Model(&g).Where("id = ?", row.Grp).Scan(ctx); err != nil {
		return n, 0, err
	}
	labels, err := g.labels()
	if err != nil {
		return n, 0, err
	}
	n.Title = alertroute.Redact(labels.Title())
	var rows []alertRow
	if err := db.NewSelect().Model(&rows).Where("id IN (SELECT alert FROM gov_alert_notice_item WHERE notice = ?)", row.ID).Order("id").Scan(ctx); err != nil {
		return n, 0, err
	}
	err = db.NewRaw("SELECT COUNT(*) FROM gov_alert_entry e JOIN gov_alert a ON a.id = e.alert WHERE e.grp = ? AND e.open AND a.state = ?", row.Grp, AlertFiring).Scan(ctx, &n.Waiting)
	if err != nil {
		return n, 0, err
	}
	for _, r := range rows {
		a, err := r.alert()
		if err != nil {
			return n, 0, err
		}
		var before []alertNoticeRow
		if !n.Kind.raises() {
			err := db.NewSelect().Model(&before).Where("notifier = ? AND created_at <= ? AND id <> ?", row.Notifier, row.CreatedAt, row.ID).
				Where("kind IN (?)", bun.List([]NoticeKind{NoticeRaised, NoticeRepeated, NoticeEscalated})).
				Where("id IN (SELECT notice FROM gov_alert_notice_item WHERE alert = ?)", a.ID).Scan(ctx)
			if err != nil {
				return n, 0, err
			}
		}
		waits := slices.IndexFunc(before, func(b alertNoticeRow) bool { return b.State == string(NoticeWaiting) })
		switch {
		case n.Kind == NoticeRaised && a.State == AlertResolved, (n.Kind == NoticeRepeated || n.Kind == NoticeEscalated) && a.State != AlertFiring,
			n.Kind == NoticeAcked && a.State != AlertAcked:
			continue
		case n.Kind == NoticeAcked && waits >= 0:
			return n, before[waits].NextAt, nil // else the raise, tried again later, would open what is in hand
		case n.Kind == NoticeResolved && !slices.ContainsFunc(before, func(b alertNoticeRow) bool { return b.Attempts > 0 }):
			continue // it never heard of it
		}
		n.Alerts = append(n.Alerts, outward(a))
	}
	return n, 0, nil
}

// outward is an alert as it may leave the server.
func outward(a Alert) Alert {
	a.Title, a.Body = alertroute.Redact(a.Title), alertroute.Redact(a.Body)
	a.Key, a.AckedBy = alertroute.OutwardKey(a.Key), alertroute.Redact(a.AckedBy)
	links := make([]Link, len(a.Links))
	for i, l := range a.Links {
		links[i] = l
		links[i].Title = alertroute.Redact(l.Title)
	}
	a.Links = links
	return a
}
