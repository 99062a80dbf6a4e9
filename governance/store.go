package governance

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

// Tx is a transaction of the kernel's database; see [govdb.Tx].
type Tx = govdb.Tx

//go:embed migrations
var migrationFiles embed.FS

func atMicros(t time.Time) govdb.Micros { return govdb.At(t) }

type settingRow struct {
	bun.BaseModel `bun:"table:gov_setting"`

	Key       string       `bun:"key,pk"`
	Value     string       `bun:"value"`
	ChangedAt govdb.Micros `bun:"changed_at"`
}

// settingTx reads a setting; absent is empty.
func settingTx(ctx context.Context, db bun.IDB, key string) (string, error) {
	var v string
	err := db.QueryRowContext(ctx, "SELECT value FROM gov_setting WHERE key = ?", key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("setting %s: %w", key, err)
	}
	return v, nil
}

func putSettingTx(ctx context.Context, tx *Tx, key, value string, now time.Time) error {
	row := &settingRow{Key: key, Value: value, ChangedAt: atMicros(now)}
	_, err := tx.NewInsert().Model(row).On("CONFLICT (key) DO UPDATE").Set("value = EXCLUDED.value").Set("changed_at = EXCLUDED.changed_at").Exec(ctx)
	if err != nil {
		return fmt.Errorf("setting %s: %w", key, err)
	}
	return nil
}

type policyRow struct {
	bun.BaseModel `bun:"table:gov_policy"`

	ID        string       `bun:"id,pk"`
	Version   int          `bun:"version,pk"`
	Body      string       `bun:"body"`
	Hash      string       `bun:"hash"`
	Active    bool         `bun:"active"`
	EditedBy  string       `bun:"edited_by"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type actionRow struct {
	bun.BaseModel `bun:"table:gov_action"`

	ID              uuid.UUID    `bun:"id,pk"`
	Name            string       `bun:"name"`
	Remote          bool         `bun:"remote"`
	Tenant          string       `bun:"tenant"`
	Resource        string       `bun:"resource"`
	ResourceVersion int64        `bun:"resource_version"`
	Digest          string       `bun:"digest"`
	Input           string       `bun:"input"`
	InputDigest     string       `bun:"input_digest"`
	Measures        string       `bun:"measures"`
	Preview         string       `bun:"preview"`
	Decision        string       `bun:"decision"`
	PolicyHash      string       `bun:"policy_hash"`
	Requirement     string       `bun:"requirement"`
	State           string       `bun:"state"`
	Held            bool         `bun:"held"`
	Bootstrap       bool         `bun:"bootstrap"`
	Requester       string       `bun:"requester"`
	RequesterPerson string       `bun:"requester_person"`
	SubjectPerson   string       `bun:"subject_person"`
	Reason          string       `bun:"reason"`
	Ticket          string       `bun:"ticket"`
	Result          string       `bun:"result"`
	Error           string       `bun:"error"`
	Attempts        int          `bun:"attempts"`
	Fence           int64        `bun:"fence"`
	LeaseUntil      govdb.Micros `bun:"lease_until"`
	DecideBy        govdb.Micros `bun:"decide_by"`
	ExecuteBy       govdb.Micros `bun:"execute_by"`
	CreatedAt       govdb.Micros `bun:"created_at"`
	DecidedAt       govdb.Micros `bun:"decided_at"`
	ExecutedAt      govdb.Micros `bun:"executed_at"`
	BreakGlass      bool         `bun:"break_glass"`
	EscalateAt      govdb.Micros `bun:"escalate_at"`
}

type reviewRow struct {
	bun.BaseModel `bun:"table:gov_review"`

	ID        uuid.UUID    `bun:"id,pk"`
	Action    uuid.UUID    `bun:"action"`
	Name      string       `bun:"name"`
	Kind      string       `bun:"kind"`
	Policy    string       `bun:"policy"`
	Tenant    string       `bun:"tenant"`
	Person    string       `bun:"person"`
	Actor     string       `bun:"actor"`
	Reason    string       `bun:"reason"`
	State     string       `bun:"state"`
	DueAt     govdb.Micros `bun:"due_at"`
	DecidedBy string       `bun:"decided_by"`
	DecidedAt govdb.Micros `bun:"decided_at"`
	Note      string       `bun:"note"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type delegationRow struct {
	bun.BaseModel `bun:"table:gov_delegation"`

	ID        uuid.UUID    `bun:"id,pk"`
	Delegator string       `bun:"delegator"`
	Delegate  string       `bun:"delegate"`
	MemberOf  string       `bun:"member_of"`
	Reason    string       `bun:"reason"`
	FromAt    govdb.Micros `bun:"from_at"`
	UntilAt   govdb.Micros `bun:"until_at"`
	RevokedAt govdb.Micros `bun:"revoked_at"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

type voteRow struct {
	bun.BaseModel `bun:"table:gov_vote"`

	Approval  uuid.UUID    `bun:"approval,pk"`
	Person    string       `bun:"person,pk"`
	Actor     string       `bun:"actor"`
	Decision  string       `bun:"decision"`
	Digest    string       `bun:"digest"`
	Comment   string       `bun:"comment"`
	Groups    string       `bun:"groups"`
	CreatedAt govdb.Micros `bun:"created_at"`
	Signature string       `bun:"signature"` // canonical; empty: the vote was not signed
}

type reservationRow struct {
	bun.BaseModel `bun:"table:gov_reservation"`

	ID         uuid.UUID    `bun:"id,pk"`
	Key        string       `bun:"key"`
	Action     uuid.UUID    `bun:"action"`
	Amount     int64        `bun:"amount"`
	State      string       `bun:"state"`
	ReservedAt govdb.Micros `bun:"reserved_at"`
}

type tenantRow struct {
	bun.BaseModel `bun:"table:gov_tenant"`

	ID         string       `bun:"id,pk"`
	Name       string       `bun:"name"`
	Country    string       `bun:"country"`
	Region     string       `bun:"region"`
	Owner      string       `bun:"owner"`
	Status     string       `bun:"status"`
	Plan       string       `bun:"plan"`
	Seats      int64        `bun:"seats"`
	RenewalAt  govdb.Micros `bun:"renewal_at"`
	ActiveAt   govdb.Micros `bun:"active_at"`
	Attributes string       `bun:"attributes"`
	Version    int64        `bun:"version"`
	CreatedAt  govdb.Micros `bun:"created_at"`
	UpdatedAt  govdb.Micros `bun:"updated_at"`
}

type tenantKeyRow struct {
	bun.BaseModel `bun:"table:gov_tenant_key"`

	System string `bun:"system,pk"`
	Key    string `bun:"key,pk"`
	Tenant string `bun:"tenant"`
}

type entitlementRow struct {
	bun.BaseModel `bun:"table:gov_entitlement"`

	Tenant    string       `bun:"tenant,pk"`
	Feature   string       `bun:"feature,pk"`
	Quantity  int64        `bun:"quantity"`
	ExpiresAt govdb.Micros `bun:"expires_at"`
	Source    string       `bun:"source"`
	Version   int64        `bun:"version"`
}

type restrictionRow struct {
	bun.BaseModel `bun:"table:gov_restriction"`

	Tenant   string       `bun:"tenant,pk"`
	Reason   string       `bun:"reason,pk"`
	Feature  string       `bun:"feature"`
	Detail   string       `bun:"detail"`
	PlacedBy string       `bun:"placed_by"`
	PlacedAt govdb.Micros `bun:"placed_at"`
	Version  int64        `bun:"version"`
}
