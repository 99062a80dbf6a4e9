package explorer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// The states of a verification.
const (
	Waiting = "waiting"
	Running = "running"
	Done    = "done"
	Failed  = "failed"
)

// Verification is one recomputing of the whole ledger.
type Verification struct {
	ID          uuid.UUID
	AskedBy     string // account
	AskedAt     time.Time
	State       string
	StartedAt   time.Time // zero while it waits
	EndedAt     time.Time // zero until it is over
	Records     int64
	Checkpoints int64
	Unsealed    int64
	Problems    []string // of one that is done; empty: everything is as it was signed
	Error       string   // why one failed
}

type verificationRow struct {
	bun.BaseModel `bun:"table:gov_verification"`

	ID          uuid.UUID    `bun:"id,pk,type:uuid"`
	AskedBy     string       `bun:"asked_by"`
	AskedAt     govdb.Micros `bun:"asked_at"`
	State       string       `bun:"state"`
	StartedAt   govdb.Micros `bun:"started_at"`
	EndedAt     govdb.Micros `bun:"ended_at"`
	Records     int64        `bun:"records"`
	Checkpoints int64        `bun:"checkpoints"`
	Unsealed    int64        `bun:"unsealed"`
	Problems    string       `bun:"problems"`
	Error       string       `bun:"error"`
}

func (r verificationRow) verification() (Verification, error) {
	v := Verification{ID: r.ID, AskedBy: r.AskedBy, AskedAt: r.AskedAt.Time(), State: r.State, Records: r.Records, Checkpoints: r.Checkpoints, Unsealed: r.Unsealed, Error: r.Error}
	if r.StartedAt > 0 {
		v.StartedAt = r.StartedAt.Time()
	}
	if r.EndedAt > 0 {
		v.EndedAt = r.EndedAt.Time()
	}
	if err := json.Unmarshal([]byte(r.Problems), &v.Problems); err != nil {
		return v, fmt.Errorf("verification %s: its problems: %w", r.ID, err)
	}
	return v, nil
}

const kind = "ledger-verification"

// Verify asks for the whole ledger to be recomputed, in the background. While one waits
// or runs, that one is the answer.
func (s *Service) Verify(ctx context.Context, id governance.Identity) (Verification, error) {
	if err := s.may(ctx, id); err != nil {
		return Verification{}, err
	}
	var out verificationRow
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row := &verificationRow{ID: uuid.Must(uuid.NewV7()), AskedBy: id.Actor.ID, AskedAt: govdb.At(s.k.Now()), State: Waiting, Problems: "[]"}
		res, err := tx.NewInsert().Model(row).On("CONFLICT DO NOTHING").Exec(ctx)
		if err != nil {
			return fmt.Errorf("ask for a verification: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 { // one is open
			var open []verificationRow
			if err := tx.NewSelect().Model(&open).Where("state IN (?, ?)", Waiting, Running).Scan(ctx); err != nil {
				return fmt.Errorf("the verification that runs: %w", err)
			}
			if len(open) == 0 {
				return fmt.Errorf("the verification that ran is over just now: %w", governance.ErrConflict)
			}
			out = open[0]
			return nil
		}
		out = *row
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "ledger.verify", Outcome: governance.OutcomeObserved, Resource: governance.Ref{Kind: kind, ID: row.ID.String()}})
		return err
	})
	if err != nil {
		return Verification{}, err
	}
	return out.verification()
}

// Verifications lists them, the newest first, those before an id when it is not nil.
func (s *Service) Verifications(ctx context.Context, id governance.Identity, before uuid.UUID, limit int) ([]Verification, error) {
	if err := s.may(ctx, id); err != nil {
		return nil, err
	}
	if before == uuid.Nil {
		before = uuid.Max
	}
	var rows []verificationRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("id < ?", before).Order("id DESC").Limit(max(1, min(int64(limit), 200))).Scan(ctx); err != nil {
		return nil, fmt.Errorf("verifications: %w", err)
	}
	out := make([]Verification, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.verification(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Verification reads one.
func (s *Service) Verification(ctx context.Context, id governance.Identity, which uuid.UUID) (Verification, error) {
	if err := s.may(ctx, id); err != nil {
		return Verification{}, err
	}
	var rows []verificationRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("id = ?", which).Scan(ctx); err != nil {
		return Verification{}, fmt.Errorf("verification %s: %w", which, err)
	}
	if len(rows) == 0 {
		return Verification{}, fmt.Errorf("verification %s: %w", which, governance.ErrNotFound)
	}
	return rows[0].verification()
}

func (s *Service) open(ctx context.Context) (bool, error) {
	rows, err := s.openRows(ctx)
	return len(rows) > 0, err
}

func (s *Service) openRows(ctx context.Context) ([]verificationRow, error) {
	var rows []verificationRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("state IN (?, ?)", Waiting, Running).Scan(ctx); err != nil {
		return nil, fmt.Errorf("open verifications: %w", err)
	}
	return rows, nil
}

// Turn runs the verification that waits, if there is one. One that a stopped server left
// is run again from the start. The kernel's Run calls it, on one server at a time.
func (s *Service) Turn(ctx context.Context) error {
	rows, err := s.openRows(ctx)
	if err != nil || len(rows) == 0 {
		return err
	}
	row := rows[0]
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE gov_verification SET state = ?, started_at = ? WHERE id = ?", Running, govdb.At(s.k.Now()), row.ID)
		return wrap(row.ID, err)
	})
	if err != nil {
		return err
	}
	problems := []string{}
	rep, err := s.k.Ledger().Verify(ctx)
	if err == nil {
		problems = append(problems, rep.Problems...)
		var broken []governance.Problem
		broken, err = governance.Check(ctx, s.k.DB())
		for _, p := range broken {
			problems = append(problems, p.String())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err() // it stays open, for who comes next
	}
	row.State, row.Records, row.Checkpoints, row.Unsealed = Done, rep.Records, rep.Checkpoints, rep.Unsealed
	if err != nil {
		row.State = Failed
		row.Error = "the ledger could not be read to its end; the server's log says more"
		s.k.Logger().ErrorContext(ctx, "verification of the ledger", "verification", row.ID.String(), "error", err)
	}
	return s.end(ctx, row, problems)
}

func (s *Service) end(ctx context.Context, row verificationRow, problems []string) error {
	text, err := json.Marshal(problems)
	if err != nil {
		return wrap(row.ID, err)
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE gov_verification SET state = ?, ended_at = ?, records = ?, checkpoints = ?, unsealed = ?, problems = ?, error = ? WHERE id = ?",
			row.State, govdb.At(s.k.Now()), row.Records, row.Checkpoints, row.Unsealed, string(text), row.Error, row.ID)
		if err != nil {
			return wrap(row.ID, err)
		}
		outcome := governance.OutcomeObserved
		if row.State == Failed {
			outcome = governance.OutcomeFailed
		}
		about := governance.Ref{Kind: kind, ID: row.ID.String()}
		if _, err := s.k.RecordTx(ctx, tx, governance.System("ledger"), governance.Record{Action: "ledger.verified", Outcome: outcome, Resource: about,
			Data: map[string]any{"records": row.Records, "checkpoints": row.Checkpoints, "problems": len(problems)}}); err != nil {
			return err
		}
		if len(problems) == 0 {
			return nil
		}
		_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: "ledger.broken", Severity: governance.Critical, Title: "The ledger does not hold",
			Body: fmt.Sprintf("A verification found %d problems.", len(problems))})
		return err
	})
}

func wrap(id uuid.UUID, err error) error {
	if err != nil {
		return fmt.Errorf("verification %s: %w", id, err)
	}
	return nil
}
