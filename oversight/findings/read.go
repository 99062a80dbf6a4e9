package findings

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight/recorder"
)

// whoOf is behind whom acts are counted: the human being over all accounts and keys, or
// the actor where there is none.
func whoOf(a governance.Actor) string {
	if a.Person != "" {
		return string(a.Person)
	}
	return a.ID
}

// containing matches a JSON list of texts that has one.
func containing(who string) string {
	b, _ := json.Marshal(who) // a text always encodes
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(string(b)) + "%"
}

// seen is what one ledger record says, as far as detectors care.
type seen struct {
	act    *actRow
	limits []*limitRow
	vote   string // the decision, when it is a vote
}

// understand takes from a record what detectors need. The server's own acts, recorded
// chunks, and the execution of what was counted when it was asked for are left out.
func understand(r ledger.Record) (seen, error) {
	if r.Kind != governance.RecordKind {
		return seen{}, nil
	}
	v, err := governance.ReadRecord(r.Body)
	if err != nil {
		return seen{}, err
	}
	if v.Actor.Kind == governance.ActorSystem || v.Actor.ID == "" || v.Action == recorder.ActionChunk {
		return seen{}, nil
	}
	var d struct {
		Decision   json.RawMessage  `json:"decision"`
		ApprovedBy *json.RawMessage `json:"approved_by"`
	}
	if len(v.Data) > 0 && v.Data[0] == '{' {
		if err := json.Unmarshal(v.Data, &d); err != nil {
			return seen{}, fmt.Errorf("record %s: %w", v.ID, err)
		}
	}
	if d.ApprovedBy != nil {
		return seen{}, nil
	}
	at := govdb.At(v.At)
	out := seen{act: &actRow{N: r.N, Record: r.ID, At: at, Who: whoOf(v.Actor), Person: v.Actor.Person != "", Action: v.Action, Tenant: string(v.Tenant), Outcome: string(v.Outcome), ActionID: v.ActionID}}
	if v.Action == "approval.vote" {
		if v.Outcome == governance.OutcomeDone {
			_ = json.Unmarshal(d.Decision, &out.vote) // left empty, it is no vote
		}
		return out, nil
	}
	if v.Outcome != governance.OutcomeDone || len(d.Decision) == 0 || d.Decision[0] != '{' {
		return out, nil
	}
	var dec governance.Decision
	if err := json.Unmarshal(d.Decision, &dec); err != nil {
		return seen{}, fmt.Errorf("record %s: decision: %w", v.ID, err)
	}
	for _, p := range dec.Policies {
		for i, l := range p.Limits {
			if l.Unit == governance.UnitCount || l.Exceeds || l.Amount <= 0 || l.Max <= 0 {
				continue
			}
			out.limits = append(out.limits, &limitRow{N: r.N, I: int64(len(out.limits)), At: at, Who: out.act.Who, Tenant: string(v.Tenant), Rule: p.Policy + "|" + strconv.Itoa(i), Budget: l.Key,
				Unit: l.Unit, Amount: l.Amount, Total: l.Sum + l.Amount, Most: l.Max, Span: l.Window.Microseconds()})
		}
	}
	return out, nil
}

// read copies what detectors need out of the next portion of the ledger.
func (s *Service) read(ctx context.Context) (int, error) {
	from, _, err := s.cursors(ctx)
	if err != nil {
		return 0, err
	}
	records, err := s.k.Ledger().Leaves(ctx, from, readBatch)
	if err != nil || len(records) == 0 {
		return 0, err
	}
	all := make([]seen, 0, len(records))
	for _, r := range records {
		x, err := understand(r)
		if err != nil { // a record of another version must not stop the watch for ever
			s.k.Logger().ErrorContext(ctx, "findings: a record was not understood", "record", r.ID, "error", err)
			continue
		}
		if x.act != nil {
			all = append(all, x)
		}
	}
	return len(records), s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := moveTx(ctx, tx, "read", from, records[len(records)-1].N+1); err != nil {
			return err
		}
		return s.storeTx(ctx, tx, all)
	})
}

func (s *Service) storeTx(ctx context.Context, tx *governance.Tx, all []seen) error {
	var acts []*actRow
	var limits []*limitRow
	var pairs [][]any
	for _, x := range all {
		a := x.act
		acts, limits = append(acts, a), append(limits, x.limits...)
		if !a.Person {
			continue
		}
		pairs = append(pairs, []any{a.Who, "action", a.Action, a.N, int64(a.At)})
		if a.Tenant != "" {
			pairs = append(pairs, []any{a.Who, "tenant", a.Tenant, a.N, int64(a.At)})
		}
	}
	if err := govdb.InsertAll(ctx, tx, acts); err != nil {
		return fmt.Errorf("findings: acts: %w", err)
	}
	if err := govdb.InsertAll(ctx, tx, limits); err != nil {
		return fmt.Errorf("findings: limits: %w", err)
	}
	known := map[[3]any]bool{}
	for _, p := range pairs {
		if id := [3]any{p[0], p[1], p[2]}; !known[id] {
			known[id] = true
			if _, err := tx.ExecContext(ctx, "INSERT INTO finding_pair (who, dimension, value, n, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (who, dimension, value) DO NOTHING", p...); err != nil {
				return fmt.Errorf("findings: pairs: %w", err)
			}
		}
	}
	for _, x := range all {
		if x.vote == "" {
			continue
		}
		if err := s.storeVoteTx(ctx, tx, x); err != nil {
			return fmt.Errorf("findings: votes: %w", err)
		}
	}
	return nil
}

// storeVoteTx keeps a vote with how long there was to read what it is about: since it
// was asked for, or since the same person's vote before, whichever is shorter.
func (s *Service) storeVoteTx(ctx context.Context, tx *governance.Tx, x seen) error {
	a := x.act
	var asked actRow
	err := tx.NewSelect().Model(&asked).Where("action_id = ? AND outcome = 'held' AND n < ?", a.ActionID, a.N).Order("n").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // asked for by the server itself, or too long ago
	}
	if err != nil {
		return err
	}
	spare := int64(a.At - asked.At)
	var before govdb.Micros
	if err := tx.NewRaw("SELECT COALESCE(MAX(at), 0) FROM finding_vote WHERE voter = ? AND at <= ?", a.Who, a.At).Scan(ctx, &before); err != nil {
		return err
	}
	if before > 0 {
		spare = min(spare, int64(a.At-before))
	}
	row := &voteRow{N: a.N, At: a.At, Voter: a.Who, Requester: asked.Who, Decision: x.vote, Spare: spare}
	_, err = tx.NewInsert().Model(row).Exec(ctx)
	return err
}
