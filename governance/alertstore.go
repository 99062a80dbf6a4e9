package governance

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/alertroute"
	"github.com/reevehq/reeve/governance/govdb"
)

type alertRow struct {
	bun.BaseModel `bun:"table:gov_alert"`

	ID       uuid.UUID    `bun:"id,pk"`
	Key      string       `bun:"key"`
	OpenKey  *string      `bun:"open_key"`
	Severity string       `bun:"severity"`
	Title    string       `bun:"title"`
	Body     string       `bun:"body"`
	Tenant   string       `bun:"tenant"`
	Links    string       `bun:"links"`
	State    string       `bun:"state"`
	Times    int64        `bun:"times"`
	FirstAt  govdb.Micros `bun:"first_at"`
	LastAt   govdb.Micros `bun:"last_at"`
	AckedBy  string       `bun:"acked_by"`
	AckedAt  govdb.Micros `bun:"acked_at"`
}

type alertRouteRow struct {
	bun.BaseModel `bun:"table:gov_alert_route"`

	Version   int          `bun:"version,pk"`
	Body      string       `bun:"body"`
	Hash      string       `bun:"hash"`
	Active    bool         `bun:"active"`
	EditedBy  string       `bun:"edited_by"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

// alertChangeRow says that an alert is to be looked at by the dispatcher. Rows are
// only added and removed: two transactions never wait for each other on one.
type alertChangeRow struct {
	bun.BaseModel `bun:"table:gov_alert_change"`

	ID    uuid.UUID    `bun:"id,pk"`
	Alert uuid.UUID    `bun:"alert"`
	At    govdb.Micros `bun:"at"`
}

type alertGroupRow struct {
	bun.BaseModel `bun:"table:gov_alert_group"`

	ID     string       `bun:"id,pk"`
	Route  string       `bun:"route"`
	Labels string       `bun:"labels"`
	ToldAt govdb.Micros `bun:"told_at"` // when a message about it was last made
	DueAt  govdb.Micros `bun:"due_at"`  // when to look again; 0: when something changes
}

func (r alertGroupRow) labels() (alertroute.Labels, error) {
	out := alertroute.Labels{}
	if err := json.Unmarshal([]byte(r.Labels), &out); err != nil {
		return nil, fmt.Errorf("alert group %s: labels: %w", r.ID, err)
	}
	return out, nil
}

// due moves the group's next look forward to at.
func (r *alertGroupRow) due(at time.Time) {
	if r.DueAt == 0 || govdb.At(at) < r.DueAt {
		r.DueAt = govdb.At(at)
	}
}

// alertEntryRow is one alert under one route.
type alertEntryRow struct {
	bun.BaseModel `bun:"table:gov_alert_entry"`

	Alert    uuid.UUID    `bun:"alert,pk"`
	Route    string       `bun:"route,pk"`
	Grp      string       `bun:"grp"`
	Open     bool         `bun:"open"`
	Told     string       `bun:"told"`     // the state that was last told; empty: nothing yet
	Severity string       `bun:"severity"` // that was last told
	ToldAt   govdb.Micros `bun:"told_at"`
	Step     int          `bun:"step"`
	StepAt   govdb.Micros `bun:"step_at"`
	Muted    string       `bun:"muted"`
}

type alertNoticeRow struct {
	bun.BaseModel `bun:"table:gov_alert_notice"`

	ID        uuid.UUID    `bun:"id,pk"`
	Notifier  string       `bun:"notifier"`
	Kind      string       `bun:"kind"`
	Grp       string       `bun:"grp"`
	State     string       `bun:"state"`
	Attempts  int          `bun:"attempts"`
	Tries     int          `bun:"tries"` // after which it is dead
	NextAt    govdb.Micros `bun:"next_at"`
	Error     string       `bun:"error"`
	CreatedAt govdb.Micros `bun:"created_at"`
	SentAt    govdb.Micros `bun:"sent_at"`
}

type alertNoticeItemRow struct {
	bun.BaseModel `bun:"table:gov_alert_notice_item"`

	Notice   uuid.UUID `bun:"notice,pk"`
	Alert    uuid.UUID `bun:"alert,pk"`
	Severity string    `bun:"severity"`
}

type alertAttemptRow struct {
	bun.BaseModel `bun:"table:gov_alert_attempt"`

	Notice uuid.UUID    `bun:"notice,pk"`
	N      int          `bun:"n,pk"`
	At     govdb.Micros `bun:"at"`
	Took   int64        `bun:"took"`
	Error  string       `bun:"error"`
}

type alertSilenceRow struct {
	bun.BaseModel `bun:"table:gov_alert_silence"`

	ID       uuid.UUID    `bun:"id,pk"`
	Matches  string       `bun:"matches"`
	Author   string       `bun:"author"`
	Reason   string       `bun:"reason"`
	StartsAt govdb.Micros `bun:"starts_at"`
	EndsAt   govdb.Micros `bun:"ends_at"`
	EndedBy  string       `bun:"ended_by"`
}
