package retention_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/internal/hostdata"
	"github.com/reevehq/reeve/internal/hostdata/hosttest"
	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/sqlsource"
)

// crash says where a server that is killed finds its databases, and at which step of
// its work it dies.
type crash struct {
	Control, ControlSchema string
	Host, HostSchema       string
	Postgres               bool
	Die                    int // 0: never
}

const crashEnv = "REEVE_TEST_RETENTION_CRASH"

// server opens the databases the way a server does after a restart.
func server(t testing.TB, c crash, step func(string) error) (*govtest.Env, *retention.Service, hosttest.Host) {
	t.Helper()
	ctx := context.Background()
	db, err := opendb.Open(ctx, c.Control, &opendb.Options{Schema: c.ControlSchema, MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, govdb.Migrate(ctx, db, append(governance.Schemas(), retention.Schema())...))
	key, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	e := govtest.New(t, nil) // for its people
	k, err := governance.New(db, &governance.Options{Authorizer: e.People, Directory: e.People, LedgerKey: key})
	require.NoError(t, err)
	e.DB, e.Kernel = db, k
	svc := newService(t, e, retention.Options{CallFor: time.Nanosecond, BatchSize: 500})
	host := hosttest.Host{}
	if c.Postgres {
		host = hosttest.OpenPostgres(t, c.Host, c.HostSchema)
	} else {
		host = hosttest.OpenSQLite(t, c.Host)
	}
	ms, err := hostdata.Mapping()
	require.NoError(t, err)
	if step != nil {
		for _, m := range ms {
			src, err := sqlsource.New(ctx, host.DB, m, &sqlsource.Options{Step: step})
			require.NoError(t, err)
			require.NoError(t, svc.AddSource(ctx, src))
		}
	}
	return e, svc, host
}

// TestCrashChild is the server that is killed; it runs only as a child of TestCrash.
func TestCrashChild(t *testing.T) {
	text := os.Getenv(crashEnv)
	if text == "" {
		t.Skip("runs as a child of TestCrash")
	}
	var c crash
	require.NoError(t, json.Unmarshal([]byte(text), &c))
	n := 0
	_, svc, _ := server(t, c, func(step string) error {
		if n++; n == c.Die {
			_, _ = fmt.Fprintln(os.Stderr, "died at", step)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	})
	require.NoError(t, svc.Turn(context.Background()))
}

// A server is killed over and over, between batches and inside them, while it purges
// a host of 50,000 customers; holds come in between. In the end every planned row is
// accounted for exactly once and no held row was touched.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIP crash: not verified in short mode")
	}
	both(t, func(t *testing.T, postgres bool) {
		ctx := context.Background()
		c := crash{Postgres: postgres, Control: filepath.Join(t.TempDir(), "reeve.db"), Host: filepath.Join(t.TempDir(), "host.db")}
		if postgres {
			c.Control, c.ControlSchema = govtest.PostgresDSN(t), govtest.Schema(t)
			c.Host, c.HostSchema = c.Control, govtest.Schema(t)
		}
		_, _, host := server(t, c, nil)
		require.NoError(t, hostdata.Generate(ctx, host.DB, postgres, 9, 50000, time.Now()))
		e, svc, _ := server(t, c, func(string) error { return nil })
		require.NoError(t, svc.Install(ctx, nil, hostdata.Policies()))
		ann, bob := e.As("ann"), e.As("bob")
		placeHold := func(tenant string) {
			_, err := svc.PlaceHold(ctx, ann, retention.NewHold{Matter: "case " + tenant, Reason: "court", Selector: retention.Selector{Tenant: tenant}})
			require.NoError(t, err)
		}
		placeHold("t-7")

		keysOf := map[string]string{
			"crm-customers": "SELECT CAST(id AS TEXT) FROM crm_customer WHERE email NOT LIKE '%@anonymised.invalid'",
			"crm-documents": "SELECT '\"' || id || '\"' FROM crm_document",
			"crm-tickets":   "SELECT '[' || customer_id || ',' || no || ']' FROM crm_ticket",
		}
		untouched := map[string]string{
			"crm-customers": "SELECT COUNT(*) FROM crm_customer WHERE email NOT LIKE '%%@anonymised.invalid' AND tenant = '%s'",
			"crm-documents": "SELECT COUNT(*) FROM crm_document d JOIN crm_customer c ON c.id = d.customer_id WHERE c.tenant = '%s'",
			"crm-tickets":   "SELECT COUNT(*) FROM crm_ticket k JOIN crm_customer c ON c.id = k.customer_id WHERE c.tenant = '%s'",
		}
		before, planned, runs := map[string]map[string]bool{}, map[string]map[string]bool{}, map[string]governance.ID[retention.Run]{}
		heldRows := map[string]int{}
		for name, q := range keysOf {
			before[name] = set(t, host, q)
			heldRows[name+" t-7"] = host.Int(t, fmt.Sprintf(untouched[name], "t-7"))
			p, err := svc.CreatePlan(ctx, ann, retention.NewPlan{Source: name})
			require.NoError(t, err)
			_, err = svc.Purge(ctx, ann, retention.PurgeInput{Plan: p.ID, Digest: p.Digest}, nil)
			var held *governance.ApprovalRequiredError
			require.ErrorAs(t, err, &held)
			a, err := e.Kernel.Approval(ctx, held.Approval)
			require.NoError(t, err)
			a, err = e.Kernel.Decide(ctx, bob, a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
			require.NoError(t, err)
			require.Equal(t, governance.StateExecuted, a.State)
			runs[name] = governance.ID[retention.Run]{UUID: a.ID}
			var chunks []string
			require.NoError(t, e.DB.Read().NewRaw("SELECT keys FROM retention_chunk WHERE plan = ?", p.ID.String()).Scan(ctx, &chunks))
			planned[name] = map[string]bool{}
			for _, chunk := range chunks {
				for _, key := range strings.Split(chunk, "\n") {
					require.False(t, planned[name][key], "a row is planned twice")
					planned[name][key] = true
				}
			}
			require.EqualValues(t, p.Rows, len(planned[name]))
		}

		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		died := map[string]int{}
		kills := 0
		for {
			c.Die = 1 + r.IntN(32)
			if kills >= 10 {
				c.Die = 0
			}
			text, err := json.Marshal(c)
			require.NoError(t, err)
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.count=1") //nolint:gosec // this test's own binary
			cmd.Env = append(os.Environ(), crashEnv+"="+string(text))
			out, err := cmd.CombinedOutput()
			if err == nil {
				break
			}
			_, step, ok := strings.Cut(string(out), "died at ")
			require.True(t, ok, "the child failed by itself: %s", out)
			died[strings.Fields(step)[0]]++
			kills++
			if kills == 4 { // what is held from now on stays as it is from now on
				placeHold("t-30")
				for name := range keysOf {
					heldRows[name+" t-30"] = host.Int(t, fmt.Sprintf(untouched[name], "t-30"))
				}
			}
			// The dead server's leases run out.
			_, err = e.DB.Handle().ExecContext(ctx, "UPDATE gov_lease SET until = 0")
			require.NoError(t, err)
		}
		t.Logf("%d kills: %v", kills, died)
		require.GreaterOrEqual(t, kills, 6)

		for name, q := range keysOf {
			run, err := svc.Run(ctx, runs[name])
			require.NoError(t, err)
			require.Contains(t, []retention.RunState{retention.RunCompleted, retention.RunExceptions}, run.State, run.Error)
			balanced(t, run.Counts)
			after := set(t, host, q)
			var items []retention.RunItem
			for cursor := ""; ; cursor = items[len(items)-1].Cursor {
				page, err := svc.Items(ctx, run.ID, cursor, 1000)
				require.NoError(t, err)
				items = append(items, page...)
				if len(page) < 1000 {
					break
				}
			}
			left := map[string]bool{}
			for _, it := range items {
				require.True(t, planned[name][it.Key], "%s: %s was listed but never planned", name, it.Key)
				require.False(t, left[it.Key], "%s: %s is listed twice", name, it.Key)
				left[it.Key] = true
			}
			for key := range before[name] {
				touched := !after[key]
				require.Equal(t, planned[name][key] && !left[key], touched, "%s: row %s", name, key)
			}
			require.EqualValues(t, run.Counts.Deleted+run.Counts.Anonymised, len(before[name])-len(after))
			for _, tenant := range []string{"t-7", "t-30"} {
				require.Equal(t, heldRows[name+" "+tenant], host.Int(t, fmt.Sprintf(untouched[name], tenant)), "%s: a held row of %s was touched", name, tenant)
			}
			body, _, err := svc.Evidence(ctx, run.ID)
			require.NoError(t, err)
			var ev retention.Evidence
			require.NoError(t, json.Unmarshal(body, &ev))
			require.Len(t, ev.Batches, run.Chunks)
			require.Zero(t, ev.Verification.Unexplained)
			require.Equal(t, run.Chunks, host.Int(t, "SELECT COUNT(*) FROM reeve_retention_checkpoint WHERE run_id = '"+run.ID.String()+"'"))
		}
		require.Equal(t, 0, host.Int(t, "SELECT COUNT(*) FROM crm_document_page WHERE document_id NOT IN (SELECT id FROM crm_document)"))
	})
}

func set(t testing.TB, h hosttest.Host, query string) map[string]bool {
	t.Helper()
	rows, err := h.DB.Query(query)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	out := map[string]bool{}
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		out[s] = true
	}
	require.NoError(t, rows.Err())
	return out
}
