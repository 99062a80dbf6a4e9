package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
	"github.com/reevehq/reeve/governance/ledger/publish"
	"github.com/reevehq/reeve/governance/ledger/publish/s3sink"
	"github.com/reevehq/reeve/governance/ledger/tiles"
)

// ledgerKeyNext is where a new signing key waits until the log was handed over to it.
const ledgerKeyNext = "ledger.next"

// ledgerKey reads the ledger's signing key, or makes it with fresh. A hand-over that was
// cut off after its commit is finished.
func ledgerKey(ctx context.Context, db *govdb.DB, keys secrets, fresh func() (string, error)) (string, error) {
	key, err := keys.get(ctx, "ledger", fresh)
	if err != nil {
		return "", err
	}
	vkey, err := ledger.VerifierKey(key)
	if err != nil {
		return "", err
	}
	to, err := ledger.HandedOver(ctx, db, vkey)
	if err != nil || to == "" {
		return key, err
	}
	next, err := keys.peek(ctx, ledgerKeyNext)
	if err != nil {
		return "", err
	}
	if have, err := ledger.VerifierKey(next); err != nil || have != to {
		return "", fmt.Errorf("the ledger was handed over to the key %s, which is not here", to)
	}
	return next, keys.promote(ctx, ledgerKeyNext, "ledger")
}

// parseWitnesses reads "address key" pairs.
func parseWitnesses(v string) ([]publish.Witness, error) {
	var out []publish.Witness
	for _, item := range strings.Split(v, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		address, key, ok := strings.Cut(item, " ")
		if !ok {
			return nil, fmt.Errorf("%q is not an address, a space and a key", item)
		}
		out = append(out, publish.Witness{URL: address, Key: strings.TrimSpace(key)})
	}
	return out, nil
}

func checkWitnesses(v string) error {
	_, err := parseWitnesses(v)
	return err
}

func checkCount(v string) error {
	if n, err := strconv.Atoi(v); err != nil || n < 0 || n > 100 {
		return errors.New("want a number from 0 to 100")
	}
	return nil
}

// witnessPolicy is whose cosignatures packs of evidence carry, by the settings.
func witnessPolicy(cfg configuration) (cosign.Policy, error) {
	witnesses, err := parseWitnesses(cfg.text("ledger_witnesses"))
	if err != nil {
		return cosign.Policy{}, err
	}
	p := cosign.Policy{}
	for _, w := range witnesses {
		p.Witnesses = append(p.Witnesses, w.Key)
	}
	if p.Quorum, err = strconv.Atoi(cfg.text("ledger_witness_quorum")); err != nil {
		return p, fmt.Errorf("ledger_witness_quorum: %w", err)
	}
	if _, err := p.Verifiers(); err != nil {
		return p, fmt.Errorf("ledger_witness_quorum: %w", err)
	}
	return p, nil
}

func checkBucket(v string) error {
	if v == "" {
		return nil
	}
	_, _, _, err := s3sink.ParseAddress(v)
	return err
}

// ledgerBucket is the bucket for what the ledger publishes, nil without one.
func (a *app) ledgerBucket(client *http.Client) (*s3sink.Sink, error) {
	if a.cfg.text("ledger_s3") == "" {
		return nil, nil
	}
	return s3sink.New(a.reeve.Kernel.Ledger(), &s3sink.Options{
		Address: a.cfg.text("ledger_s3"), Region: a.cfg.text("ledger_s3_region"), Transport: client.Transport,
		AccessKey: a.cfg.text("ledger_s3_access_key"), SecretKey: a.cfg.text("ledger_s3_secret_key"),
		Tiles: a.cfg.text("ledger_s3_tiles") == "true", Lock: a.cfg.duration("ledger_s3_lock"), Now: a.reeve.Kernel.Now,
	})
}

// publication takes checkpoints out of the database, as the settings say; without any it
// does nothing.
func (a *app) publication(ctx context.Context, client *http.Client) error {
	witnesses, err := parseWitnesses(a.cfg.text("ledger_witnesses"))
	if err != nil {
		return err
	}
	o := &publish.Options{Client: client, Witnesses: witnesses}
	if path := a.cfg.text("ledger_publish_file"); path != "" {
		o.Sinks = append(o.Sinks, publish.File{Path: path})
	}
	if address := a.cfg.text("ledger_publish_url"); address != "" {
		hook, err := publish.NewWebhook(address, client)
		if err != nil {
			return err
		}
		o.Sinks = append(o.Sinks, hook)
	}
	bucket, err := a.ledgerBucket(client)
	if err != nil {
		return err
	}
	if bucket != nil {
		o.Sinks = append(o.Sinks, bucket)
	}
	if len(o.Witnesses)+len(o.Sinks) == 0 {
		return nil
	}
	k := a.reeve.Kernel
	p, err := publish.New(k.Ledger(), o)
	if err != nil {
		return err
	}
	a.reeve.Explorer.Watch(p)
	if err := p.Restore(ctx); err != nil {
		return err
	}
	k.Background("ledger.publish", 5*time.Second, func(ctx context.Context) error {
		err := p.Turn(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, ledger.ErrForked) { // of which the kernel tells
			return err
		}
		alert := governance.Alert{Key: "ledger.publish", Severity: governance.Warning, Title: "A checkpoint of the ledger was not taken everywhere", Body: err.Error()}
		if errors.Is(err, publish.ErrDiffers) {
			alert.Key, alert.Severity, alert.Title = "ledger.differs", governance.Critical, "Something else is where the ledger was published"
		}
		return errors.Join(err, k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := k.AlertTx(ctx, tx, alert)
			return err
		}))
	})
	return nil
}

// receiptSinks takes the receipts of this server elsewhere as their records are
// committed; without a setting it does nothing.
func (a *app) receiptSinks(client *http.Client) error {
	var sinks []publish.ReceiptSink
	if path := a.cfg.text("ledger_receipts_file"); path != "" {
		sinks = append(sinks, publish.File{Path: path})
	}
	if address := a.cfg.text("ledger_receipts_url"); address != "" {
		hook, err := publish.NewWebhook(address, client)
		if err != nil {
			return err
		}
		sinks = append(sinks, hook)
	}
	bucket, err := a.ledgerBucket(client)
	if err != nil {
		return err
	}
	if bucket != nil {
		sinks = append(sinks, bucket)
	}
	if len(sinks) == 0 {
		return nil
	}
	k := a.reeve.Kernel
	a.receipts, err = publish.NewReceipts(k.Ledger(), &publish.ReceiptsOptions{Sinks: sinks, Logger: a.log, OnGap: func(sink string, n int64) {
		go func() { // a sink's trouble holds up no receipt
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			err := k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
				_, err := k.AlertTx(ctx, tx, governance.Alert{Key: "ledger.receipts", Severity: governance.Warning, Title: "Receipts of the ledger were not taken everywhere",
					Body: fmt.Sprintf("%d receipts were given up. The numbers of those that were kept have a gap. Sink: %q", n, sink)})
				return err
			})
			if err != nil {
				a.log.Error("alert of receipts that were given up", "error", err)
			}
		}()
	}})
	return err
}

// ledgerLog serves the ledger in the form of C2SP tlog-tiles to those who may read it.
func (a *app) ledgerLog() http.Handler {
	log := tiles.Handler(a.reeve.Kernel.Ledger(), &tiles.HandlerOptions{Logger: a.log})
	return http.StripPrefix("/v1/ledger/log", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := governance.IdentityFrom(r.Context())
		if !ok {
			http.Error(w, "sign in first", http.StatusUnauthorized)
			return
		}
		if err := a.reeve.Kernel.Authorize(r.Context(), id, "ledger:read", governance.Target{}); err != nil {
			http.Error(w, "not allowed", http.StatusForbidden)
			return
		}
		log.ServeHTTP(w, r)
	}))
}

// openLedger opens the ledger alone, to look at it.
func openLedger(ctx context.Context, cfg configuration) (*ledger.Log, *govdb.DB, error) {
	db, key, err := existing(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	l, err := ledger.New(db, key, nil)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return l, db, nil
}

func verifyLedger(ctx context.Context, cfg configuration, stdout io.Writer) error {
	l, db, err := openLedger(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	rep, err := l.Verify(ctx)
	if err != nil {
		return err
	}
	broken, err := governance.Check(ctx, db)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "%d records, %d checkpoints, %d waiting to be sealed, signed by %s\n", rep.Records, rep.Checkpoints, rep.Unsealed, l.Origin())
	if len(rep.Problems)+len(broken) == 0 {
		_, err := fmt.Fprintln(stdout, "Everything stored is as it was signed.")
		return err
	}
	for _, p := range rep.Problems {
		_, _ = fmt.Fprintln(stdout, "problem:", p)
	}
	for _, p := range broken {
		_, _ = fmt.Fprintln(stdout, "problem:", p)
	}
	return errProblems
}

// exportLedger writes the ledger into a folder that any C2SP client and reeve-verify can
// read.
func exportLedger(ctx context.Context, cfg configuration, dir string, witnesses int, stdout io.Writer) error {
	l, db, err := openLedger(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	out, err := tiles.Export(ctx, l, dir, witnesses)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d records, %d files, %d bytes in %s\nVerification key: %s\n", out.Size, out.Files, out.Bytes, dir, l.VerifierKey())
	return err
}

// proveTenant prints the proof that a tenant's records are all there are.
func proveTenant(ctx context.Context, cfg configuration, tenant string, from int64, stdout io.Writer) error {
	l, db, err := openLedger(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	p, err := l.ProveTenant(ctx, tenant, from)
	if err != nil {
		return err
	}
	e := json.NewEncoder(stdout)
	e.SetEscapeHTML(false)
	return e.Encode(p)
}

// succeedLedger hands the ledger over to a new key. origin is its name, empty for the
// same; lostFile holds the checkpoint that a restored database does not have.
func succeedLedger(ctx context.Context, cfg configuration, origin, lostFile string, stdout, stderr io.Writer) error {
	var lost []byte
	if lostFile != "" {
		b, err := os.ReadFile(lostFile)
		if err != nil {
			return err
		}
		lost = b
	}
	if cfg.text("database") == "" { // as in openLedger
		if _, err := os.Stat(filepath.Join(cfg.text("data"), "reeve.db")); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	a, err := open(ctx, cfg, newLogger(cfg, stderr), openOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = a.close() }()
	k, keys := a.reeve.Kernel, secrets{a.db, cfg.keysDir()}
	if origin == "" {
		origin = k.Ledger().Origin()
	}
	skey, vkey, err := ledger.GenerateKey(origin)
	if err != nil {
		return fmt.Errorf("ledger key: %w", err)
	}
	if err := keys.put(ctx, ledgerKeyNext, skey); err != nil {
		return err
	}
	s, err := k.SucceedLedger(ctx, skey, lost)
	if err != nil {
		return err // the key that waits is of no use, and is written over by the next try
	}
	if err := keys.promote(ctx, ledgerKeyNext, "ledger"); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "After %d records the ledger goes on under another key. Start the servers again.\nVerification key: %s\n", s.Size, vkey)
	return err
}
