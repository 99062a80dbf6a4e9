package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
	"github.com/reevehq/reeve/oversight/recorder"
)

// buildEvidence writes a pack to a file, beside a server that runs or without one.
func buildEvidence(ctx context.Context, cfg configuration, req evidence.Request, id, out string, stdout io.Writer) (err error) {
	if req.Subject, err = uuid.Parse(id); err != nil {
		return &usageError{fmt.Errorf("%q is not an id", id), "the console shows the id of every session and action"}
	}
	db, key, err := existing(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	blobs, err := recorder.OpenDir(filepath.Join(cfg.text("data"), "recordings"))
	if err != nil {
		return err
	}
	defer func() { _ = blobs.Close() }()
	svc, err := evidenceService(cfg, db, key, blobs)
	if err != nil {
		return err
	}
	by := governance.System("command-line")
	if out == "" {
		out = evidence.Pack{Kind: req.Kind, Subject: req.Subject}.FileName()
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // before anything is written down
	if err != nil {
		return fmt.Errorf("write the pack: %w", err)
	}
	p, err := svc.Build(ctx, by, req)
	if err == nil {
		var data []byte
		if p, data, err = svc.Download(ctx, by, p.ID); err == nil {
			_, err = f.Write(data)
		}
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	_, err = fmt.Fprintf(stdout, "%s: %d files, %d records, %d bytes, %s\n", out, p.Files, p.Records, p.Bytes, p.SHA256)
	return err
}

// evidenceService is the least that a pack can be built with: nobody is represented
// and nothing runs in the background.
func evidenceService(cfg configuration, db *govdb.DB, key string, blobs recorder.BlobStore) (*evidence.Service, error) {
	people, err := govauth.NewStore(db)
	if err != nil {
		return nil, err
	}
	authorizer, err := govauth.NewAuthorizer(nil)
	if err != nil {
		return nil, err
	}
	k, err := governance.New(db, &governance.Options{Authorizer: authorizer, Directory: people, LedgerKey: key})
	if err != nil {
		return nil, err
	}
	sessions, err := oversight.New(k, &oversight.Options{Targets: func(context.Context, governance.TenantID, string) (governance.Actor, error) {
		return governance.Actor{}, governance.ErrNotFound
	}})
	if err != nil {
		return nil, err
	}
	rec, err := recorder.New(sessions, blobs, nil)
	if err != nil {
		return nil, err
	}
	witnesses, err := witnessPolicy(cfg)
	if err != nil {
		return nil, err
	}
	// A server that stopped a moment ago may still hold the right to sign.
	return evidence.New(k, sessions, rec, blobs, &evidence.Options{Wait: 30 * time.Second, Witnesses: witnesses})
}

// verifyEvidence checks a pack. With a key it needs no installation at all.
func verifyEvidence(ctx context.Context, cfg configuration, path, key string, witnesses cosign.Policy, asJSON bool, stdout io.Writer) error {
	if key == "" {
		var err error
		if key, err = ownKey(ctx, cfg); err != nil {
			return &usageError{fmt.Errorf("no key to check with: %w", err), "name the log's verification key with --key"}
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	rep, err := pack.VerifyWitnessed(f, info.Size(), key, witnesses)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(rep); err != nil {
			return err
		}
	} else if err := printEvidence(stdout, rep); err != nil {
		return err
	}
	if len(rep.Problems) > 0 {
		return errProblems
	}
	return nil
}

func printEvidence(w io.Writer, rep pack.Report) error {
	if rep.ID != "" {
		_, _ = fmt.Fprintf(w, "%s %q, built %s by %q with %q\n", rep.Subject.Kind, rep.Subject.ID, rep.MadeAt.Format("2006-01-02 15:04:05 MST"), rep.MadeBy, rep.Software)
		_, _ = fmt.Fprintf(w, "%d files, %d records, %d votes, %d chunks with %d requests\n", rep.Files, rep.Records, rep.Votes, rep.Chunks, rep.Requests)
	}
	for _, n := range rep.Notes {
		_, _ = fmt.Fprintf(w, "note: %q\n", n)
	}
	for _, p := range rep.Problems {
		_, _ = fmt.Fprintf(w, "problem: %q\n", p.String())
	}
	if len(rep.Problems) > 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "Every byte is as it was built, and every record is in the log %s, signed at %d records.\n", rep.Log, rep.TreeSize)
	return err
}

func ownKey(ctx context.Context, cfg configuration) (string, error) {
	db, skey, err := existing(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	return ledger.VerifierKey(skey)
}
