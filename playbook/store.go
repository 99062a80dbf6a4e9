package playbook

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "playbook", FS: files}
	}
	return govdb.Schema{Name: "playbook", FS: sub}
}

type playbookRow struct {
	bun.BaseModel `bun:"table:playbook_playbook"`

	Name          string       `bun:"name,pk"`
	Title         string       `bun:"title"`
	LiveVersion   int          `bun:"live_version"`   // 0: none
	ShadowVersion int          `bun:"shadow_version"` // 0: none
	NextScanAt    govdb.Micros `bun:"next_scan_at"`
	Events        string       `bun:"events"` // types of event it wants, of both versions
	Touched       int64        `bun:"touched"`
	UpdatedAt     govdb.Micros `bun:"updated_at"`
}

type versionRow struct {
	bun.BaseModel `bun:"table:playbook_version"`

	Name      string       `bun:"name,pk"`
	Version   int          `bun:"version,pk"`
	Source    string       `bun:"source"`
	Hash      string       `bun:"hash"`
	Author    string       `bun:"author"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type pauseRow struct {
	bun.BaseModel `bun:"table:playbook_pause"`

	Name   string       `bun:"name,pk"` // empty: everything
	By     string       `bun:"by_actor"`
	Reason string       `bun:"reason"`
	At     govdb.Micros `bun:"at"`
}

type exemptionRow struct {
	bun.BaseModel `bun:"table:playbook_exemption"`

	ID        uuid.UUID    `bun:"id,pk"`
	Playbook  string       `bun:"playbook"` // empty: every playbook
	Tenant    string       `bun:"tenant"`
	Reason    string       `bun:"reason"`
	By        string       `bun:"by_actor"`
	UntilAt   govdb.Micros `bun:"until_at"`
	CreatedAt govdb.Micros `bun:"created_at"`
	EndedAt   govdb.Micros `bun:"ended_at"`
}

type batchRow struct {
	bun.BaseModel `bun:"table:playbook_batch"`

	ID        uuid.UUID    `bun:"id,pk"`
	Playbook  string       `bun:"playbook"`
	Version   int          `bun:"version"`
	Mode      string       `bun:"mode"`
	Trigger   string       `bun:"trigger_kind"`
	State     string       `bun:"state"`
	Why       string       `bun:"why"`
	Scanned   int          `bun:"scanned"`
	Matched   int          `bun:"matched"`
	Unusable  int          `bun:"unusable"`
	Cap       int          `bun:"cap"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type candidateRow struct {
	bun.BaseModel `bun:"table:playbook_candidate"`

	Batch   uuid.UUID `bun:"batch,pk"`
	Tenant  string    `bun:"tenant,pk"`
	Name    string    `bun:"name"`
	Verdict string    `bun:"verdict"`
	Why     string    `bun:"why"`
	Signals string    `bun:"signals"`
	Run     string    `bun:"run"`
}

type runRow struct {
	bun.BaseModel `bun:"table:playbook_run"`

	ID         uuid.UUID    `bun:"id,pk"`
	Batch      uuid.UUID    `bun:"batch"`
	Playbook   string       `bun:"playbook"`
	Version    int          `bun:"version"`
	Tenant     string       `bun:"tenant"`
	TenantName string       `bun:"tenant_name"`
	Mode       string       `bun:"mode"`
	Trigger    string       `bun:"trigger_kind"`
	State      string       `bun:"state"`
	Why        string       `bun:"why"`
	EndState   string       `bun:"end_state"` // where a stopping run ends
	Undo       bool         `bun:"undo"`
	Signals    string       `bun:"signals"`
	Causation  uuid.UUID    `bun:"causation"`
	Depth      int          `bun:"depth"`
	DueAt      govdb.Micros `bun:"due_at"`
	LeaseUntil govdb.Micros `bun:"lease_until"`
	Fence      int64        `bun:"fence"`
	DeferredAt govdb.Micros `bun:"deferred_at"`
	CreatedAt  govdb.Micros `bun:"created_at"`
	EndedAt    govdb.Micros `bun:"ended_at"`
}

type stepRow struct {
	bun.BaseModel `bun:"table:playbook_step"`

	Run          uuid.UUID    `bun:"run,pk"`
	Index        int          `bun:"idx,pk"`
	ID           string       `bun:"id"`
	Title        string       `bun:"title"`
	Kind         string       `bun:"kind"`
	State        string       `bun:"state"`
	Detail       string       `bun:"detail"`
	Input        string       `bun:"input"`
	Output       string       `bun:"output"`
	Checked      string       `bun:"checked"` // the signals of the last look at the condition
	CheckedAt    govdb.Micros `bun:"checked_at"`
	Approval     string       `bun:"approval"`
	Attempts     int          `bun:"attempts"`
	UndoAttempts int          `bun:"undo_attempts"`
	DueAt        govdb.Micros `bun:"due_at"`
	StartedAt    govdb.Micros `bun:"started_at"`
	EndedAt      govdb.Micros `bun:"ended_at"`
}

type timelineRow struct {
	bun.BaseModel `bun:"table:playbook_timeline"`

	Run    uuid.UUID    `bun:"run,pk"`
	N      int64        `bun:"n,pk"`
	At     govdb.Micros `bun:"at"`
	Step   string       `bun:"step"` // empty: the run itself
	State  string       `bun:"state"`
	Detail string       `bun:"detail"`
	Actor  string       `bun:"actor"`
}

type inboxRow struct {
	bun.BaseModel `bun:"table:playbook_inbox"`

	ID        uuid.UUID    `bun:"id,pk"` // of the event
	Type      string       `bun:"type"`
	Tenant    string       `bun:"tenant"`
	Actor     string       `bun:"actor"`
	Causation uuid.UUID    `bun:"causation"`
	Depth     int          `bun:"depth"`
	At        govdb.Micros `bun:"at"`
	DueAt     govdb.Micros `bun:"due_at"`
	Attempts  int          `bun:"attempts"`
}

type runbookRow struct {
	bun.BaseModel `bun:"table:playbook_runbook"`

	Name      string       `bun:"name,pk"`
	Version   int          `bun:"version,pk"`
	Source    string       `bun:"source"`
	Hash      string       `bun:"hash"`
	Active    bool         `bun:"active"`
	Author    string       `bun:"author"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type instanceRow struct {
	bun.BaseModel `bun:"table:playbook_instance"`

	ID       uuid.UUID    `bun:"id,pk"`
	Runbook  string       `bun:"runbook"`
	Version  int          `bun:"version"`
	State    string       `bun:"state"`
	OpenKey  *string      `bun:"open_key"` // one open instance per alert or run
	Alert    string       `bun:"alert"`
	AlertKey string       `bun:"alert_key"`
	Subject  string       `bun:"subject"`
	Tenant   string       `bun:"tenant"`
	Run      string       `bun:"run"`
	Ticket   string       `bun:"ticket"`
	Outcome  string       `bun:"outcome"`
	Note     string       `bun:"note"`
	OpenedBy string       `bun:"opened_by"`
	OpenedAt govdb.Micros `bun:"opened_at"`
	ClosedBy string       `bun:"closed_by"`
	ClosedAt govdb.Micros `bun:"closed_at"`
}

type checkRow struct {
	bun.BaseModel `bun:"table:playbook_check"`

	Instance uuid.UUID    `bun:"instance,pk"`
	Step     string       `bun:"step,pk"`
	Result   string       `bun:"result"`
	Note     string       `bun:"note"`
	Evidence string       `bun:"evidence"`
	By       string       `bun:"by_actor"`
	Person   string       `bun:"person"`
	At       govdb.Micros `bun:"at"`
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "null" // only values of our own types come here
	}
	return string(b)
}

func fromJSON[T any](what, text string) (T, error) {
	var v T
	if text == "" {
		return v, nil
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return v, fmt.Errorf("stored %s: %w", what, err)
	}
	return v, nil
}
