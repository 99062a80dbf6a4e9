// Command embed-minimal is an insurance back office that knows nothing of Reeve but
// for reeve.go: its own tables by sqlx, its own huma API, its own people, and its own
// types named Policy and Session.
//
//	go run ./examples/embed-minimal            # serves on 127.0.0.1:8090
//	curl -H 'X-Staff: ana' -d '{"cents":90000}' 127.0.0.1:8090/policies/P-1/write-off   # 202, held
//	curl -H 'X-Staff: bo' 127.0.0.1:8090/reeve/approvals                                # bo decides
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite"
)

// Policy is an insurance policy.
type Policy struct {
	Number   string `db:"number" json:"number"`
	Customer string `db:"customer" json:"customer"`
	Due      int64  `db:"due" json:"due_cents"`
}

// Session is who is at the desk.
type Session struct{ Staff, Branch string }

type sessionKey struct{}

// office is the application.
type office struct {
	db  *sqlx.DB
	dir string
}

const schema = `
CREATE TABLE IF NOT EXISTS staff (name TEXT PRIMARY KEY, manager INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS policies (number TEXT PRIMARY KEY, customer TEXT NOT NULL, due INTEGER NOT NULL);
INSERT OR IGNORE INTO staff VALUES ('ana', 0), ('bo', 1);
INSERT OR IGNORE INTO policies VALUES ('P-1', 'Kestrel Bakery', 120000), ('P-2', 'Alder Press', 40000);`

func openOffice(ctx context.Context, dir string) (*office, error) {
	file := "file:" + filepath.Join(dir, "office.db")
	db, err := sqlx.ConnectContext(ctx, "sqlite", file+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &office{db, dir}, nil
}

// staff tells whether somebody is a manager, as the office's own table says.
func (o *office) staff(ctx context.Context, name string) (manager bool, err error) {
	err = o.db.GetContext(ctx, &manager, "SELECT manager FROM staff WHERE name = ?", name)
	return manager, err
}

// signIn is the office's own way to know who is there.
func (o *office) signIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Header.Get("X-Staff")
		if _, err := o.staff(r.Context(), name); err == nil {
			r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, Session{Staff: name, Branch: "harbour"}))
		}
		next.ServeHTTP(w, r)
	})
}

// handler is the office's API with the guarded operation on it.
func (o *office) handler(ctx context.Context) (http.Handler, error) {
	mux := http.NewServeMux()
	api := humago.New(mux, huma.DefaultConfig("Harbour Insurance", "1.0"))
	huma.Register(api, huma.Operation{OperationID: "list-policies", Method: http.MethodGet, Path: "/policies"}, func(ctx context.Context, _ *struct{}) (*struct{ Body []Policy }, error) {
		out := &struct{ Body []Policy }{Body: []Policy{}}
		return out, o.db.SelectContext(ctx, &out.Body, "SELECT number, customer, due FROM policies ORDER BY number")
	})
	if err := o.guard(ctx, api); err != nil {
		return nil, err
	}
	return o.signIn(identify(mux)), nil
}

// executor is any transaction of database/sql's kind.
type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// writeOffTx takes an amount off what a policy still owes.
func writeOffTx(ctx context.Context, tx executor, number string, cents int64) error {
	res, err := tx.ExecContext(ctx, "UPDATE policies SET due = due - ? WHERE number = ? AND due >= ?", cents, number, cents)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fmt.Errorf("policy %s owes less than %d", number, cents))
	}
	return nil
}

func main() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "office")
	if err == nil {
		var o *office
		if o, err = openOffice(ctx, dir); err == nil {
			var h http.Handler
			if h, err = o.handler(ctx); err == nil {
				fmt.Println("http://127.0.0.1:8090/policies")
				err = (&http.Server{Addr: "127.0.0.1:8090", Handler: h, ReadHeaderTimeout: 5e9}).ListenAndServe()
			}
		}
	}
	fmt.Fprintln(os.Stderr, "embed-minimal:", err)
	os.Exit(1)
}
