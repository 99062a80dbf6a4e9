package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/ledger"
)

// everybody lets everybody do everything: authorization is not what is measured.
type everybody struct{}

// Authorize implements governance.Authorizer.
func (everybody) Authorize(context.Context, governance.Identity, string, governance.Target) error {
	return nil
}

// Resolve implements governance.Directory.
func (everybody) Resolve(_ context.Context, p governance.PersonID) (governance.Person, error) {
	return governance.Person{ID: p, Active: true}, nil
}

// Members implements governance.Directory.
func (everybody) Members(context.Context, governance.GroupID) ([]governance.Person, error) {
	return nil, nil
}

type noteRow struct {
	bun.BaseModel `bun:"table:bench_note"`

	ID     string `bun:"id,pk"`
	Tenant string `bun:"tenant"`
	Text   string `bun:"text"`
}

type note struct {
	Tenant string `json:"tenant"`
	Text   string `json:"text"`
}

type noteInput struct{ Body note }

type noteOutput struct {
	Body struct {
		ID string `json:"id"`
	}
}

func insertNote(ctx context.Context, tx *govdb.Tx, n note) (string, error) {
	row := &noteRow{ID: uuid.Must(uuid.NewV7()).String(), Tenant: n.Tenant, Text: n.Text}
	_, err := tx.NewInsert().Model(row).Exec(ctx)
	return row.ID, err
}

func openBench(ctx context.Context, dsn string, conns int, single bool) (*govdb.DB, *governance.Kernel, *governance.Action[note], error) {
	db, err := opendb.Open(ctx, dsn, &opendb.Options{MaxConns: conns})
	if err != nil {
		return nil, nil, nil, err
	}
	if single { // the same handles without sharing a commit
		if db, err = govdb.Attach(ctx, db.Handle(), db.Read(), &govdb.Options{MaxBatch: 1}); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := govdb.Migrate(ctx, db, governance.Schemas()...); err != nil {
		return nil, nil, nil, err
	}
	if _, err := db.Handle().ExecContext(ctx, "CREATE TABLE IF NOT EXISTS bench_note (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, text TEXT NOT NULL)"); err != nil {
		return nil, nil, nil, err
	}
	key, _, err := ledger.GenerateKey("bench")
	if err != nil {
		return nil, nil, nil, err
	}
	k, err := governance.New(db, &governance.Options{Authorizer: everybody{}, Directory: everybody{}, LedgerKey: key})
	if err != nil {
		return nil, nil, nil, err
	}
	act := governance.Define("note.add", governance.Spec[note]{
		Permission: "note:add", Tenant: func(n note) governance.TenantID { return governance.TenantID(n.Tenant) },
		Resource: func(n note) governance.Ref { return governance.Ref{Kind: "note", ID: n.Tenant} },
	}, func(ctx context.Context, tx *governance.Tx, n note) (governance.Result, error) {
		id, err := insertNote(ctx, tx, n)
		if err != nil {
			return governance.Result{}, err
		}
		ev, err := governance.NewEvent("note.added", governance.TenantID(n.Tenant), 0, governance.Ref{Kind: "note", ID: id}, n)
		return governance.Result{Data: map[string]string{"id": id}, Events: []governance.Event{ev}}, err
	})
	return db, k, act, k.Register(act)
}

// unrecorded prepares the audited write's own transaction without its record and its
// event: the note, and the action's row in a table with the same indexes, sent with the
// commit as the guard does. PostgreSQL only.
func unrecorded(ctx context.Context, db *govdb.DB, k *governance.Kernel, act *governance.Action[note], id governance.Identity) (func(context.Context, *govdb.Tx, note) (string, error), error) {
	if _, err := act.Do(ctx, k, id, note{"t000", strings.Repeat("x", 120)}, nil); err != nil {
		return nil, err
	}
	sample := map[string]any{}
	if err := db.Handle().NewRaw("SELECT * FROM gov_action LIMIT 1").Scan(ctx, &sample); err != nil {
		return nil, err
	}
	if _, err := db.Handle().ExecContext(ctx, "CREATE TABLE IF NOT EXISTS bench_action (LIKE gov_action INCLUDING ALL)"); err != nil {
		return nil, err
	}
	return func(ctx context.Context, tx *govdb.Tx, n note) (string, error) {
		row := maps.Clone(sample)
		row["id"], row["tenant"], row["created_at"] = uuid.Must(uuid.NewV7()), n.Tenant, time.Now().UnixMicro()
		err := tx.Defer(ctx, "bench_action", func(ctx context.Context, tx *govdb.Tx, items []any) error {
			for _, it := range items {
				values := it.(map[string]any)
				if _, err := tx.NewInsert().Model(&values).TableExpr("bench_action").Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		}, row)
		if err != nil {
			return "", err
		}
		return insertNote(ctx, tx, n)
	}, nil
}

// serveBench is the process under load. mode is audited, single (audited, a
// transaction for each call), unrecorded (see there), floor (the same route with one
// insert of the request through the same writer) or bytes (one insert of as many bytes
// as the audited write stores). It prints its address once it listens.
func serveBench(mode, dsn string, conns, pad int) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	db, k, act, err := openBench(ctx, dsn, conns, mode == "single")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	api := humago.New(mux, huma.DefaultConfig("bench", "1"))
	id := governance.Identity{Actor: governance.Actor{ID: "user:bench", Kind: governance.ActorUser, Person: "bench"}}
	if mode == "floor" || mode == "bytes" || mode == "unrecorded" {
		filler := strings.Repeat("y", pad)
		write := func(ctx context.Context, tx *govdb.Tx, n note) (string, error) {
			return insertNote(ctx, tx, note{n.Tenant, n.Text + filler})
		}
		if mode == "unrecorded" {
			if write, err = unrecorded(ctx, db, k, act, id); err != nil {
				return err
			}
		}
		huma.Register(api, huma.Operation{OperationID: "add", Method: http.MethodPost, Path: "/notes"}, func(ctx context.Context, in *noteInput) (*noteOutput, error) {
			out := &noteOutput{}
			return out, db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) (err error) {
				out.Body.ID, err = write(ctx, tx, in.Body)
				return err
			})
		})
	} else {
		govapi.GuardedResult[struct {
			ID string `json:"id"`
		}](govapi.New(api, k), "", huma.Operation{OperationID: "add", Method: http.MethodPost, Path: "/notes"},
			func(ctx context.Context, id governance.Identity, in *noteInput) (governance.Outcome, error) {
				return act.Do(ctx, k, id, in.Body, nil)
			})
		go func() { _ = k.Run(ctx) }()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(governance.WithIdentity(r.Context(), id)))
	})}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// payload is the body of every request.
func payload(tenant int) string {
	return fmt.Sprintf(`{"tenant":"t%03d","text":"%s"}`, tenant, strings.Repeat("x", 120))
}
