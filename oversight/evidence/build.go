package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// Build makes a pack and keeps it for download. It waits for the ledger to sign the
// record that the pack was built, and checks the pack as an outsider would before
// anybody gets it.
func (s *Service) Build(ctx context.Context, id governance.Identity, req Request) (Pack, error) {
	req.Reason = strings.TrimSpace(req.Reason)
	if len(req.Reason) < minReason || len(req.Reason) > maxReason || !utf8.ValidString(req.Reason) || strings.ContainsRune(req.Reason, 0) {
		return Pack{}, governance.Invalid("reason", "is required, %d to %d bytes of text", minReason, maxReason)
	}
	if id.Subject != nil {
		return Pack{}, &governance.DeniedError{Action: pack.ActionBuild, Rule: "impersonation", Reason: "refused while impersonating somebody"}
	}
	g, err := s.collect(ctx, id, req)
	if err != nil {
		return Pack{}, err
	}
	packID := uuid.Must(uuid.NewV7())
	g.c.Manifest.ID, g.c.Manifest.MadeAt = packID.String(), s.k.Now()
	draft, err := pack.NewDraft(g.c)
	if err != nil {
		return Pack{}, err
	}
	row, err := s.begin(ctx, g, packID, draft)
	if err != nil {
		return Pack{}, err
	}
	p, err := s.finish(ctx, g, row, draft)
	if err != nil {
		err = errors.Join(err, s.fail(context.WithoutCancel(ctx), packID))
	}
	return p, err
}

// begin writes down that the pack is built, with its digest.
func (s *Service) begin(ctx context.Context, g *gathering, id uuid.UUID, draft *pack.Draft) (*packRow, error) {
	ds, err := json.Marshal(g.disclosures())
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	m := g.c.Manifest
	row := &packRow{ID: id, Kind: g.req.Kind, Subject: g.req.Subject, Tenant: string(g.tenant), Name: g.root.Action, Reason: m.Reason, State: string(StateBuilding),
		Disclosed: string(ds), Records: int64(len(g.c.Records)), Content: draft.Content(), MadeBy: m.MadeBy, MadeAt: govdb.At(m.MadeAt), ExpiresAt: govdb.At(m.MadeAt.Add(s.opts.Keep))}
	return row, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		receipt, err := s.k.RecordTx(ctx, tx, g.id, governance.Record{Action: pack.ActionBuild, Tenant: g.tenant, Resource: governance.RefTo(g.req.Kind, g.req.Subject), Reason: m.Reason,
			Data: map[string]any{"pack": id, "content": draft.Content(), "records": len(g.c.Records), "disclosed": len(g.disclosures()), "recording": !g.req.NoRecording}})
		if err != nil {
			return err
		}
		row.Record = receipt.ID
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("pack %s: %w", id, err)
		}
		return nil
	})
}

func (s *Service) finish(ctx context.Context, g *gathering, row *packRow, draft *pack.Draft) (Pack, error) {
	seal, err := s.seal(ctx, g, row.Record)
	if err != nil {
		return Pack{}, err
	}
	var buf bytes.Buffer
	if err := draft.Write(&buf, seal); err != nil {
		return Pack{}, err
	}
	rep, err := s.Verify(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	if err != nil {
		return Pack{}, err
	}
	if len(rep.Problems) > 0 {
		return Pack{}, &notHolding{join(rep.Problems)}
	}
	row.State, row.Files, row.Bytes, row.SHA256 = string(StateReady), int64(rep.Files), int64(buf.Len()), pack.Hash(buf.Bytes())
	row.Blob = "evidence/" + row.ID.String() + ".evidence.zip"
	if err := s.blobs.Put(ctx, row.Blob, buf.Bytes()); err != nil {
		return Pack{}, fmt.Errorf("pack %s: %w", row.ID, err)
	}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.NewUpdate().Model(row).Column("state", "files", "bytes", "sha256", "blob").WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		return Pack{}, fmt.Errorf("pack %s: %w", row.ID, err)
	}
	return row.pack()
}

func join(ps []pack.Problem) string {
	var out []string
	for i, p := range ps {
		if i == 5 {
			out = append(out, fmt.Sprintf("and %d more", len(ps)-i))
			break
		}
		out = append(out, p.String())
	}
	return strings.Join(out, "; ")
}

// seal waits until a signed checkpoint covers every record, and proves them all to
// that one.
func (s *Service) seal(ctx context.Context, g *gathering, built uuid.UUID) (pack.Seal, error) {
	var out pack.Seal
	ids := []uuid.UUID{built}
	for _, r := range g.c.Records {
		ids = append(ids, uuid.MustParse(r.ID))
	}
	wait, cancel := context.WithTimeout(ctx, s.opts.Wait)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		// The server's own sealer may be a second away, and a program that only builds
		// packs has none.
		if _, err := s.k.Ledger().Seal(wait); err != nil && wait.Err() == nil {
			return out, err
		}
		proofs, err := s.k.Ledger().ProveWitnessed(ctx, s.opts.Witnesses.Quorum, ids...)
		if err == nil {
			return sealOf(ids, proofs), nil
		}
		if !errors.Is(err, ledger.ErrNotFound) {
			return out, err
		}
		select {
		case <-wait.Done():
			return out, errors.Join(ErrUnsealed, ctx.Err())
		case <-tick.C:
		}
	}
}

func sealOf(ids []uuid.UUID, proofs []ledger.Proof) pack.Seal {
	out := pack.Seal{Record: []byte(proofs[0].Body), Checkpoint: proofs[0].Checkpoint}
	for i, p := range proofs {
		out.Proofs = append(out.Proofs, pack.Proof{Record: ids[i].String(), N: p.N, Path: p.Path})
	}
	return out
}

func (s *Service) fail(ctx context.Context, id uuid.UUID) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE evidence_pack SET state = ? WHERE id = ? AND state = ?", StateFailed, id, StateBuilding)
		return err
	})
}
