package retention

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/lease"
)

// Evidence shows what a run did, on whose word, by which law. It holds no value of a
// row: rows stand in it as salted digests under one Merkle root.
type Evidence struct {
	Kind         string              `json:"kind"`
	Run          string              `json:"run"`
	Plan         string              `json:"plan"`
	PlanDigest   governance.Digest   `json:"plan_digest"`
	KeysHash     string              `json:"keys_hash"`
	Source       string              `json:"source"`
	Place        string              `json:"place"`
	Fingerprint  string              `json:"fingerprint"`
	AsOf         time.Time           `json:"as_of"`
	StartedAt    time.Time           `json:"started_at"`
	EndedAt      time.Time           `json:"ended_at"`
	RequestedBy  string              `json:"requested_by"`
	Approvals    []EvidenceVote      `json:"approvals"`
	Law          []Bound             `json:"law"`
	Planned      []PlanGroup         `json:"planned"`
	Counts       Counts              `json:"counts"`
	Equation     bool                `json:"equation"` // planned = deleted + anonymised + held + changed + failed
	Before       []Group             `json:"before"`
	After        []Group             `json:"after"`
	Verification Verification        `json:"verification"`
	Root         string              `json:"root"` // over the batches' roots, in order
	Batches      []EvidenceBatch     `json:"batches"`
	Exceptions   map[Outcome][]Item  `json:"exceptions"`
	Listed       int                 `json:"exceptions_listed"` // at most 1000 are repeated here; all are in the run's list
	Salt         string              `json:"salt_sha256"`       // commits to the salt of the digests
	Traces       []string            `json:"residual_traces"`
	Ledger       map[string][]string `json:"ledger"`
}

// EvidenceVote is one person's approval.
type EvidenceVote struct {
	Person  governance.PersonID `json:"person"`
	At      time.Time           `json:"at"`
	Comment string              `json:"comment,omitempty"`
}

// EvidenceBatch is one transaction in the host.
type EvidenceBatch struct {
	Seq    int       `json:"seq"`
	Counts Counts    `json:"counts"`
	Root   string    `json:"root"`
	At     time.Time `json:"at"`
	Record string    `json:"record"` // in the ledger
}

// Verification is the scan after a run.
type Verification struct {
	At          time.Time   `json:"at"`
	StillDue    int64       `json:"still_due"`   // rows due as of the plan's instant that are still there
	Accounted   int64       `json:"accounted"`   // of these: held, changed or failed in this run
	Held        int64       `json:"held"`        // of these: held when the plan was made
	Late        int64       `json:"late"`        // of these: not in the plan, for the next one
	Unexplained int64       `json:"unexplained"` // of these: done by this run, and there again
	Overdue     []PlanGroup `json:"overdue"`     // rows still due and not held
}

const evidenceItems = 1000

// verify scans the host again: every row that is due must be one the run left alone,
// or one the plan did not know.
func (d *driver) verify(ctx context.Context, p Plan) (Verification, Population, error) {
	r, _, _, err := d.s.load(ctx)
	if err != nil {
		return Verification{}, Population{}, err
	}
	done := map[string]bool{} // planned rows; false: left alone by the run
	for seq := range d.run.Chunks {
		var keys string
		if err := d.s.db.Read().NewRaw("SELECT keys FROM retention_chunk WHERE plan = ? AND seq = ?", d.plan.ID, seq).Scan(ctx, &keys); err != nil {
			return Verification{}, Population{}, fmt.Errorf("chunk %d: %w", seq, err)
		}
		for key := range lines(keys) {
			done[key] = true
		}
	}
	var left []string
	if err := d.s.db.Read().NewRaw("SELECT key FROM retention_item WHERE run = ?", d.run.ID).Scan(ctx, &left); err != nil {
		return Verification{}, Population{}, fmt.Errorf("items: %w", err)
	}
	for _, key := range left {
		done[key] = false
	}
	v := Verification{At: d.s.gov.Now(), Overdue: []PlanGroup{}}
	overdue := map[PlanGroup]int64{}
	pop, err := d.src.Plan(ctx, Selection{AsOf: p.AsOf, Soon: p.AsOf.AddDate(0, 0, 30), Resolver: r}, func(f Facts) error {
		state, action := r.Decide(f, p.AsOf)
		if state != Due && state != Held {
			return nil
		}
		v.StillDue++
		if state == Due {
			country, _ := r.Country(f.Country)
			overdue[PlanGroup{Country: country, Action: action}]++
		}
		switch was, planned := done[f.Key]; {
		case !planned && state == Held:
			v.Held++
		case !planned:
			v.Late++
		case was:
			v.Unexplained++
		default:
			v.Accounted++
		}
		return nil
	})
	for g, n := range overdue {
		g.Rows = n
		v.Overdue = append(v.Overdue, g)
	}
	slices.SortFunc(v.Overdue, compareGroups)
	return v, pop, err
}

func lines(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i <= len(s); i++ {
			if i == len(s) || s[i] == '\n' {
				if i > start && !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}

// finish verifies, writes the evidence and ends the run.
func (d *driver) finish(ctx context.Context, p Plan) error {
	v, after, err := d.verify(ctx, p)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	e, err := d.evidence(ctx, p, v, after)
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	c := d.run.counts()
	state := RunCompleted
	switch {
	case v.Unexplained > 0 || !e.Equation:
		state = RunUnproven
	case c.Held+c.Changed+c.Failed > 0:
		state = RunExceptions
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	sum := sha256.Sum256(body)
	hash := "sha256:" + hex.EncodeToString(sum[:])
	return d.s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := lease.CheckTx(ctx, tx, d.lease); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE retention_run SET state = ?, secret = '', evidence = ?, evidence_hash = ?, ended_at = ? WHERE id = ?`,
			state, string(body), hash, govdb.At(e.EndedAt), d.run.ID)
		if err != nil {
			return err
		}
		data := map[string]any{"state": state, "plan": d.run.Plan, "source": d.run.Source, "counts": c, "evidence": hash, "root": e.Root, "verification": v}
		ev, err := governance.NewEvent("retention.run_ended", "", 0, governance.Ref{Kind: "retention_run", ID: d.run.ID}, data)
		if err != nil {
			return err
		}
		receipt, err := d.s.gov.RecordTx(ctx, tx, governance.System("retention"), governance.Record{Action: "retention.run.end",
			Resource: governance.Ref{Kind: "retention_run", ID: d.run.ID}, Digest: p.Digest, Data: data}, ev)
		if err != nil || state != RunUnproven {
			return err
		}
		_, err = d.s.gov.AlertTx(ctx, tx, governance.Alert{Key: "retention.run:" + d.run.ID, Severity: governance.Critical,
			Title: "Purge of " + d.run.Source + " could not be proven", Body: fmt.Sprintf("%d rows that were purged are there again.", v.Unexplained),
			Links: []governance.Link{{Title: "Plan", Kind: "retention_plan", ID: d.run.Plan}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
		return err
	})
}

func (d *driver) evidence(ctx context.Context, p Plan, v Verification, after Population) (Evidence, error) {
	salt, err := hex.DecodeString(d.run.Salt)
	if err != nil {
		return Evidence{}, err
	}
	saltSum := sha256.Sum256(salt)
	c := d.run.counts()
	e := Evidence{
		Kind: "reeve/retention/evidence/v1", Run: d.run.ID, Plan: d.run.Plan, PlanDigest: p.Digest, KeysHash: p.KeysHash, Source: p.Source, Place: p.Place,
		Fingerprint: p.Print, AsOf: p.AsOf, StartedAt: d.run.StartedAt.Time(), EndedAt: d.s.gov.Now(), RequestedBy: d.run.RequestedBy, Approvals: []EvidenceVote{},
		Law: p.Law, Planned: p.Groups, Counts: c, Equation: c.Planned == c.Done(), Before: p.Population, After: after.Groups, Verification: v,
		Batches: []EvidenceBatch{}, Exceptions: map[Outcome][]Item{}, Salt: hex.EncodeToString(saltSum[:]), Ledger: map[string][]string{"batches": {}},
		Traces: []string{"write-ahead logs, replicas and backups of the host keep the rows until they are recycled",
			"pages of the host's files may keep them until they are overwritten or vacuumed"},
	}
	var batches []batchRow
	if err := d.s.db.Read().NewSelect().Model(&batches).Where("run = ?", d.run.ID).Order("seq").Scan(ctx); err != nil {
		return e, fmt.Errorf("batches: %w", err)
	}
	var leaves [][32]byte
	for _, b := range batches {
		var res BatchResult
		if err := json.Unmarshal([]byte(b.Body), &res); err != nil {
			return e, fmt.Errorf("batch %d: %w", b.Seq, err)
		}
		root, err := hex.DecodeString(res.Root)
		if err != nil || len(root) != 32 {
			return e, fmt.Errorf("batch %d: root %q is not a SHA-256", b.Seq, res.Root)
		}
		leaves = append(leaves, [32]byte(root))
		e.Batches = append(e.Batches, EvidenceBatch{b.Seq, res.Counts, res.Root, res.At, b.Record})
		e.Ledger["batches"] = append(e.Ledger["batches"], b.Record)
	}
	e.Root = MerkleRoot(leaves)
	var items []itemRow
	if err := d.s.db.Read().NewSelect().Model(&items).Where("run = ?", d.run.ID).Order("seq", "pos").Limit(evidenceItems).Scan(ctx); err != nil {
		return e, fmt.Errorf("items: %w", err)
	}
	e.Listed = len(items)
	for _, it := range items {
		o := Outcome(it.Outcome)
		e.Exceptions[o] = append(e.Exceptions[o], Item{it.Key, o, it.Reason})
	}
	id, err := uuid.Parse(d.run.ID)
	if err != nil {
		return e, err
	}
	a, err := d.s.gov.Approval(ctx, id)
	if err != nil && !errors.Is(err, governance.ErrNotFound) { // not held: no approval was needed
		return e, err
	}
	for _, vote := range a.Votes {
		if vote.Decision == governance.Approve {
			e.Approvals = append(e.Approvals, EvidenceVote{vote.Person, vote.At, vote.Comment})
		}
	}
	return e, nil
}

// Evidence gives the evidence of a run that has ended, as the bytes whose SHA-256
// the ledger holds.
func (s *Service) Evidence(ctx context.Context, run governance.ID[Run]) (body []byte, hash string, err error) {
	row, err := s.runRow(ctx, run.String())
	if err != nil {
		return nil, "", err
	}
	if row.Evidence == "" {
		return nil, "", fmt.Errorf("run %s has no evidence: %w", run, governance.ErrNotFound)
	}
	return []byte(row.Evidence), row.EvidenceHash, nil
}
