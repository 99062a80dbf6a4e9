// Package govtest gives tests a kernel on a real database: SQLite in a temporary
// folder, and PostgreSQL in a schema of its own when REEVE_TEST_POSTGRES names one.
//
// Start with [Each] for a test that must hold on both, or [New] for SQLite alone.
package govtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/ledger"
)

// PostgresEnv names the DSN of a PostgreSQL server that tests may use.
const PostgresEnv = "REEVE_TEST_POSTGRES"

// Env is a kernel with everything around it. People and Clock may be changed while
// a test runs.
type Env struct {
	DB     *govdb.DB
	Kernel *governance.Kernel
	People *People
	Clock  *Clock
}

// Options tunes an Env.
type Options struct {
	Schemas []govdb.Schema              // beside the kernel's
	Kernel  func(o *governance.Options) // changes the kernel's options before it is made
	Rates   map[string]int64            // "USD→EUR" to millionths
	Start   time.Time                   // of the clock; default 2026-01-15 12:00 UTC
}

// Now is the test's clock.
func (e *Env) Now() time.Time { return e.Clock.Now() }

// Advance moves the clock on.
func (e *Env) Advance(d time.Duration) { e.Clock.Advance(d) }

// Clock is a clock that moves by hand, and by a microsecond with each reading, so
// that no two instants are the same.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// Now reads the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Microsecond)
	return c.t
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// People is a directory and an authorizer: who there is, in which groups, and what
// each role may do. A role "root" may do everything.
type People struct {
	mu     sync.Mutex
	people map[governance.PersonID]governance.Person
	may    map[string][]string
}

// Put adds or replaces a person; roles are groups as well.
func (p *People) Put(id governance.PersonID, roles ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	groups := make([]governance.GroupID, len(roles))
	for i, r := range roles {
		groups[i] = governance.GroupID(r)
	}
	p.people[id] = governance.Person{ID: id, Name: string(id), Active: true, Roles: roles, Groups: groups}
}

// Remove makes a person inactive.
func (p *People) Remove(id governance.PersonID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	person := p.people[id]
	person.Active = false
	p.people[id] = person
}

// Allow lets a role have permissions.
func (p *People) Allow(role string, permissions ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.may[role] = append(p.may[role], permissions...)
}

// Resolve implements governance.Directory.
func (p *People) Resolve(_ context.Context, id governance.PersonID) (governance.Person, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	person, ok := p.people[id]
	if !ok {
		return governance.Person{}, fmt.Errorf("person %s: %w", id, governance.ErrNotFound)
	}
	return person, nil
}

// Members implements governance.Directory.
func (p *People) Members(_ context.Context, g governance.GroupID) ([]governance.Person, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []governance.Person
	for _, person := range p.people {
		if person.In(g) {
			out = append(out, person)
		}
	}
	return out, nil
}

// Authorize implements governance.Authorizer.
func (p *People) Authorize(_ context.Context, id governance.Identity, permission string, _ governance.Target) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range id.Actor.Roles {
		if r == "root" || slices.Contains(p.may[r], permission) {
			return nil
		}
	}
	return &governance.DeniedError{Action: permission, Rule: "role", Reason: "no role allows it"}
}

// As is the identity of a person who has just signed in, with the roles the directory
// gives.
func (e *Env) As(id governance.PersonID) governance.Identity {
	person, err := e.People.Resolve(context.Background(), id)
	if err != nil {
		person = governance.Person{ID: id}
	}
	return governance.Identity{Actor: governance.Actor{ID: "user:" + string(id), Kind: governance.ActorUser, Person: id, Name: string(id),
		Roles: person.Roles, Groups: person.Groups, AuthTime: e.Now()}}
}

type rates map[string]int64

func (r rates) Rate(_ context.Context, from, to string, at time.Time) (governance.Rate, error) {
	micro, ok := r[from+"→"+to]
	if !ok {
		return governance.Rate{}, fmt.Errorf("rate %s→%s: %w", from, to, governance.ErrNotFound)
	}
	return governance.Rate{From: from, To: to, Micro: micro, Date: at.Format(time.DateOnly), Source: "test"}, nil
}

// New makes an Env on SQLite.
func New(t testing.TB, opts *Options) *Env {
	t.Helper()
	return build(t, opts, filepath.Join(t.TempDir(), "reeve.db"), "")
}

// NewPostgres makes an Env on PostgreSQL, or skips with the reason.
func NewPostgres(t testing.TB, opts *Options) *Env {
	t.Helper()
	return build(t, opts, PostgresDSN(t), Schema(t))
}

// PostgresDSN is the server that tests may use; without one the test is skipped.
func PostgresDSN(t testing.TB) string {
	t.Helper()
	dsn := os.Getenv(PostgresEnv)
	if dsn == "" {
		t.Skipf("SKIP postgres: not verified on PostgreSQL, %s is not set", PostgresEnv)
	}
	return dsn
}

// Schema makes the name of a PostgreSQL schema for one test and drops it when the
// test ends.
func Schema(t testing.TB) string {
	t.Helper()
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	t.Cleanup(func() {
		db, err := opendb.Open(context.Background(), os.Getenv(PostgresEnv), &opendb.Options{MaxConns: 1})
		if err != nil {
			return
		}
		_, _ = db.Handle().ExecContext(context.Background(), "DROP SCHEMA IF EXISTS "+name+" CASCADE")
		_ = db.Close()
	})
	return name
}

// Each runs fn on SQLite and on PostgreSQL.
func Each(t *testing.T, opts *Options, fn func(t *testing.T, e *Env)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		fn(t, New(t, opts))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		fn(t, NewPostgres(t, opts))
	})
}

func build(t testing.TB, opts *Options, dsn, schema string) *Env {
	t.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	}
	e := &Env{Clock: &Clock{t: o.Start}, People: &People{people: map[governance.PersonID]governance.Person{}, may: map[string][]string{}}}
	db, err := opendb.Open(context.Background(), dsn, &opendb.Options{Schema: schema, MaxConns: 20, Now: e.Clock.Now})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	e.DB = db
	require.NoError(t, govdb.Migrate(context.Background(), db, append(governance.Schemas(), o.Schemas...)...))
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	ko := &governance.Options{Authorizer: e.People, Directory: e.People, LedgerKey: skey, Rates: rates(o.Rates)}
	if o.Kernel != nil {
		o.Kernel(ko)
	}
	e.Kernel, err = governance.New(db, ko)
	require.NoError(t, err)
	return e
}

// Drain seals the ledger and feeds every consumer until nothing is left to do.
func (e *Env) Drain(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	for range 1000 {
		sealed, err := e.Kernel.Ledger().Seal(ctx)
		require.NoError(t, err)
		moved, err := e.Kernel.Outbox().Turn(ctx)
		require.NoError(t, err)
		if sealed+moved == 0 {
			return
		}
	}
	t.Fatal("the outbox does not come to rest")
}

// Actions lists the actions recorded so far, oldest first, as "action outcome".
func (e *Env) Actions(t testing.TB) []string {
	t.Helper()
	rs, err := e.Kernel.Ledger().Records(context.Background(), ledger.Filter{AllTenants: true, Limit: 200})
	require.NoError(t, err)
	out := make([]string, len(rs))
	for i, r := range rs {
		body := decodeBody(t, r.Body)
		out[len(rs)-1-i] = body.Action + " " + body.Outcome
	}
	return out
}
