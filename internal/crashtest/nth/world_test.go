package nth

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth/passkey"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/oversight"
)

// place says where a world's database is.
type place struct {
	DSN    string `json:"dsn"`
	Schema string `json:"schema"`
	Folder string `json:"folder"` // the vendor that remote actions call
	Key    string `json:"key"`    // that signs the ledger
}

// world is one process: a kernel, an action of each kind, and sessions.
type world struct {
	place
	db     *govdb.DB
	k      *governance.Kernel
	credit *governance.Action[input] // local, with a limit and an approval above it
	refund *governance.Action[input] // remote: the vendor is a folder
	closed *governance.Action[input] // denied by a policy
	manual *governance.Action[input] // held for two people, executed by hand
	signed *governance.Action[input] // held for a signed vote
	people people
	keys   *passkey.Service
	visits *oversight.Service
}

type input struct {
	Name  string `json:"name"` // one for each try of a scenario
	Cents int64  `json:"cents"`
}

// people may do everything; bob approves.
type people struct{}

func (people) Authorize(context.Context, governance.Identity, string, governance.Target) error {
	return nil
}

func (people) Resolve(_ context.Context, id governance.PersonID) (governance.Person, error) {
	p := governance.Person{ID: id, Name: string(id), Active: true}
	if id == "bob" || id == "cleo" {
		p.Groups = []governance.GroupID{"gov_approver"}
	}
	return p, nil
}

func (p people) Members(ctx context.Context, _ governance.GroupID) ([]governance.Person, error) {
	bob, _ := p.Resolve(ctx, "bob")
	cleo, err := p.Resolve(ctx, "cleo")
	return []governance.Person{bob, cleo}, err
}

func as(id governance.PersonID) governance.Identity {
	return governance.Identity{Actor: governance.Actor{ID: "user:" + string(id), Kind: governance.ActorUser, Person: id, Name: string(id), AuthTime: time.Now()}}
}

func schemas() []govdb.Schema {
	return append(governance.Schemas(), oversight.Schema(), passkey.Schema())
}

// open makes a world; later moves its clock on, so that what waits is due.
func open(ctx context.Context, p place, later time.Duration, wrap func(driver.Connector) driver.Connector) (*world, error) {
	db, err := opendb.Open(ctx, p.DSN, &opendb.Options{Schema: p.Schema, MaxConns: 4, Wrap: wrap, Now: func() time.Time { return time.Now().Add(later) }})
	if err != nil {
		return nil, err
	}
	w := &world{place: p, db: db}
	votes, err := passkey.NewStore(db, func() passkey.Site { return passkey.SiteOf(site) })
	if err != nil {
		return nil, err
	}
	w.k, err = governance.New(db, &governance.Options{Authorizer: w.people, Directory: w.people, LedgerKey: p.Key, Votes: votes})
	if err != nil {
		return nil, err
	}
	if w.keys, err = passkey.New(w.k, votes, nil); err != nil {
		return nil, err
	}
	spec := governance.Spec[input]{
		Permission: "test",
		Tenant:     func(input) governance.TenantID { return "acme" },
		Resource:   func(in input) governance.Ref { return governance.Ref{Kind: "thing", ID: in.Name} },
		Measures: func(_ context.Context, _ *governance.Tx, in input) ([]governance.Measure, error) {
			return []governance.Measure{{Unit: "EUR.cent", Value: in.Cents}}, nil
		},
	}
	effect := func(ctx context.Context, tx *governance.Tx, in input) (governance.Result, error) {
		if _, err := tx.ExecContext(ctx, "INSERT INTO host_effect (id, name) VALUES (?, ?)", uuid.NewString(), in.Name); err != nil {
			return governance.Result{}, err
		}
		ev, err := governance.NewEvent("thing.done", "acme", 0, governance.Ref{Kind: "thing", ID: in.Name}, in)
		return governance.Result{Data: in, Events: []governance.Event{ev}}, err
	}
	w.credit = governance.Define("thing.credit", spec, effect)
	w.closed = governance.Define("thing.closed", spec, effect)
	w.signed = governance.Define("thing.signed", spec, effect)
	w.manual = governance.Define("thing.manual", spec, effect)
	w.refund = governance.DefineRemote("thing.refund", spec, governance.Remote[input]{Call: w.call, Lookup: w.lookup})
	if err := w.k.Register(w.credit, w.closed, w.manual, w.signed, w.refund); err != nil {
		return nil, err
	}
	w.visits, err = oversight.New(w.k, &oversight.Options{Insecure: true, Unrecorded: true, Targets: func(context.Context, governance.TenantID, string) (governance.Actor, error) {
		return governance.Actor{ID: "product:u1", Kind: governance.ActorUser, Name: "Ulla User"}, nil
	}})
	return w, err
}

// call is the vendor's side: it keeps one line for each effect, whatever the process
// that asked for it comes to.
func (w *world) call(_ context.Context, idem string, in input) (governance.Result, error) {
	f, err := os.OpenFile(filepath.Join(w.Folder, idem), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return governance.Result{}, err
	}
	_, err = fmt.Fprintln(f, in.Name)
	return governance.Result{Data: in}, errors.Join(err, f.Close())
}

func (w *world) lookup(_ context.Context, idem string, in input) (governance.Result, bool, error) {
	_, err := os.Stat(filepath.Join(w.Folder, idem))
	if errors.Is(err, os.ErrNotExist) {
		return governance.Result{}, false, nil
	}
	return governance.Result{Data: in}, err == nil, err
}

// calls counts the effects that the vendor has of a name.
func (w *world) calls(name string) (int, error) {
	files, err := os.ReadDir(w.Folder)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(w.Folder, f.Name()))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(b)) {
			if strings.TrimSpace(line) == name {
				n++
			}
		}
	}
	return n, nil
}

// prepare makes the tables and policies, once for each database.
func (w *world) prepare(ctx context.Context) error {
	if err := govdb.Migrate(ctx, w.db, schemas()...); err != nil {
		return err
	}
	if _, err := w.db.Handle().ExecContext(ctx, "CREATE TABLE host_effect (id TEXT PRIMARY KEY, name TEXT NOT NULL)"); err != nil {
		return err
	}
	day := governance.Duration{Duration: 24 * time.Hour}
	require := &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}
	two := &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 2}}, DecideWithin: day, ExecuteWithin: day, Manual: true}
	signed := *require
	signed.Signed = true
	return w.k.InstallPolicies(ctx,
		governance.Policy{ID: "signed", Title: "By a signed vote", Actions: []string{"thing.signed"}, Mode: governance.Enforce, Require: &signed},
		governance.Policy{ID: "manual", Title: "By two, by hand", Actions: []string{"thing.manual"}, Mode: governance.Enforce, Require: two},
		governance.Policy{ID: "credit", Title: "Credit above the limit", Actions: []string{"thing.credit"}, Mode: governance.Enforce, Require: require,
			Limits: []governance.Limit{{Unit: "EUR.cent", Max: 100, Window: day, By: governance.ByResource}}},
		governance.Policy{ID: "refund", Title: "Refund above the limit", Actions: []string{"thing.refund"}, Mode: governance.Enforce, Require: require,
			Limits: []governance.Limit{{Unit: "EUR.cent", Max: 100, Window: day, By: governance.ByResource}}},
		governance.Policy{ID: "closed", Title: "Never", Actions: []string{"thing.closed"}, Mode: governance.Enforce, Deny: true},
	)
}

func (w *world) effects(ctx context.Context, name string) (int, error) {
	var n int
	err := w.db.Handle().NewRaw("SELECT COUNT(*) FROM host_effect WHERE name = ?", name).Scan(ctx, &n)
	return n, err
}

// state is the state of the action of a name, empty when there is none.
func (w *world) state(ctx context.Context, action, name string) (string, error) {
	var states []string
	err := w.db.Handle().NewRaw("SELECT state FROM gov_action WHERE name = ? AND resource = ?", action, "thing/"+name).Scan(ctx, &states)
	if err == nil && len(states) > 1 {
		err = fmt.Errorf("%d actions %s of %s", len(states), action, name)
	}
	return strings.Join(states, ""), err
}

// settle does what the servers' loops do until nothing is left, as the next server
// would after this one died.
func (w *world) settle(ctx context.Context) error {
	for range 50 {
		if err := w.k.Sweep(ctx); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if err := w.visits.Sweep(ctx); err != nil {
			return fmt.Errorf("sweep sessions: %w", err)
		}
		sealed, err := w.k.Ledger().Seal(ctx)
		if err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		moved, err := w.k.Outbox().Turn(ctx)
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		if sealed+moved == 0 {
			return nil
		}
	}
	return errors.New("it does not come to rest")
}

func (p place) String() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return string(b)
}
