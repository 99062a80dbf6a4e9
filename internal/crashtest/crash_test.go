package crashtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
)

const rounds, shortRounds = 50, 5

// seedEnv repeats a run's random moments and requests.
const seedEnv = "REEVE_TEST_SEED"

func TestKill(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		torture(t, engine{name: "sqlite", data: t.TempDir()})
	})
	t.Run("postgres", func(t *testing.T) {
		dsn := govtest.PostgresDSN(t)
		schema := govtest.Schema(t)
		e := engine{name: "postgres", data: t.TempDir(), dsn: dsn, schema: schema}
		t.Cleanup(func() { // the demo's host database stands beside ours
			e.read(t, dsn, schema, func(ctx context.Context, db *govdb.DB) {
				_, _ = db.Handle().ExecContext(ctx, "DROP SCHEMA IF EXISTS "+schema+"_host CASCADE")
			})
		})
		torture(t, e)
	})
}

// tally is what the rounds add up to.
type tally struct {
	kills, hits                    int
	sent, answered                 int
	lost                           int64 // on the way at a kill
	foundDone, doneLater, replayed int
	start, worst                   time.Duration
}

func torture(t *testing.T, e engine) {
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv(seedEnv); v != "" {
		var err error
		seed, err = strconv.ParseUint(v, 10, 64)
		require.NoError(t, err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d (repeat with %s)", seed, seedEnv)
	n := rounds
	if testing.Short() {
		n = shortRounds
	}
	dsn, schema := e.ours()
	w, sum := newWorld(), &tally{}
	var last []*call
	since := time.Now().Add(-time.Second)
	built.path(t)
	began := time.Now()
	s := e.start(t)
	t.Logf("%s: filled in %.1f s", e.name, time.Since(began).Seconds())
	began = time.Now()
	for round := range n {
		c := newClient(s)
		l := &load{c: c, tenants: tenants(t, c), round: round}
		if round%10 == 0 {
			purge(t, c, round)
		}
		calls, unanswered := l.run(t.Context(), rng.Uint64(), 80*time.Millisecond+time.Duration(rng.Int64N(int64(520*time.Millisecond))), s.kill)
		c.close()
		requireAlone(t)
		sum.add(calls, unanswered)
		last = append(last, calls...)

		at := time.Now()
		s = e.start(t)
		sum.start += time.Since(at)
		sum.worst = max(sum.worst, time.Since(at))
		var unknown []*call
		e.read(t, dsn, schema, func(ctx context.Context, db *govdb.DB) {
			w.check(ctx, t, db, since)
			unknown = w.acknowledged(ctx, t, db, last)
			if round%4 != 3 { // else the next server waits for leases that the killed one holds
				expire(ctx, t, db, "gov_lease.until", "integration_lane.lease_until")
			}
		})
		since = at.Add(-time.Second) // what was written during the check is read again
		c = newClient(s)
		w.again(t, c, sum, unknown, sample(rng, last, 10))
		c.close()
		last = unknown // answered now: the next round finds them in the database
		require.False(t, t.Failed(), "round %d; the server said:\n%s", round, s.log)
	}
	took := time.Since(began)
	at := time.Now()
	settle(t, e, s, w, since, last)
	t.Logf("KILLS %s: %d kills, %d hit work in flight", e.name, sum.kills, sum.hits)
	t.Logf("%s: %.1f s, and %.1f s to finish; %d requests, %d answered, %d on the way at a kill: %d of those were found done, %d were done when asked again; %d repeats replayed; restart %.2f s on average, %.2f s at worst; %s",
		e.name, took.Seconds(), time.Since(at).Seconds(), sum.sent, sum.answered, sum.lost, sum.foundDone, sum.doneLater, sum.replayed, sum.start.Seconds()/float64(n), sum.worst.Seconds(), e.verify(t))
	require.NotZero(t, sum.hits, "no kill hit work in flight: the run proves nothing")
}

func (s *tally) add(calls []*call, unanswered int64) {
	s.kills++
	s.lost += unanswered
	if unanswered > 0 {
		s.hits++
	}
	for _, k := range calls {
		s.sent++
		if k.status != 0 {
			s.answered++
		}
	}
}

// again repeats every call whose answer nobody heard, and some that were answered:
// each must come out as done once.
func (w *world) again(t *testing.T, c *client, sum *tally, unknown, answered []*call) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, k := range append(append([]*call{}, unknown...), answered...) {
		known := k.status
		wg.Go(func() {
			k2 := *k
			if err := c.send(t.Context(), &k2); err != nil {
				t.Errorf("repeat of %s %s: %v", k.kind, k.key, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			before, wasThere := w.keyed[k.key]
			switch {
			case k.kind == "vote":
				there := k2.status == http.StatusForbidden && strings.Contains(k2.answer, "you have voted")
				if k2.status != http.StatusOK && k2.status != http.StatusConflict && !there {
					t.Errorf("repeat of a vote of %s on %s: %d %s", k.who, k.action, k2.status, k2.answer)
				}
			case known == 0 && wasThere:
				sum.foundDone++
				if k2.status < 300 && k2.action != before {
					t.Errorf("%s %s was there as %s and was done again as %s", k.kind, k.key, before, k2.action)
				}
			case known == 0:
				sum.doneLater++
			default:
				sum.replayed++
				if k2.action != k.action || k2.status != known && !(known == http.StatusAccepted && k2.status == http.StatusOK) {
					t.Errorf("%s %s was answered with %d %s and, repeated, with %d %s %s", k.kind, k.key, known, k.action, k2.status, k2.action, k2.answer)
				}
			}
			if k.kind == "credit" && k2.status != http.StatusOK && k2.status != http.StatusAccepted {
				t.Errorf("repeat of credit %s: %d %s", k.key, k2.status, k2.answer)
			}
			if known == 0 {
				*k = k2
			}
		})
	}
	wg.Wait()
}

// sample picks some calls that were done or held.
func sample(rng *rand.Rand, calls []*call, n int) []*call {
	var out []*call
	for _, i := range rng.Perm(len(calls)) {
		if k := calls[i]; k.kind != "vote" && (k.status == http.StatusOK || k.status == http.StatusAccepted) && len(out) < n {
			out = append(out, k)
		}
	}
	return out
}

// tenants are those that the load is about: few enough to meet each other.
func tenants(t *testing.T, c *client) []string {
	t.Helper()
	var list struct {
		Items []struct{ ID, Status string }
	}
	c.get(t, "cs_agent", "/tenants?limit=60", &list)
	var out []string
	for _, it := range list.Items {
		if it.Status == "active" && len(out) < 30 {
			out = append(out, it.ID)
		}
	}
	require.NotEmpty(t, out)
	return out
}

// purge asks for what is due in the host's database to be purged; the voters approve.
func purge(t *testing.T, c *client, round int) {
	t.Helper()
	var list struct {
		Items []struct {
			ID, Digest string
		}
	}
	c.get(t, "super_admin", "/retention/plans?limit=20", &list)
	for _, p := range list.Items {
		status, b, err := c.do(t.Context(), "super_admin", http.MethodPost, "/retention/plans/"+p.ID+"/purge", fmt.Sprintf("purge-%s-%d", p.ID, round), map[string]any{"digest": p.Digest, "reason": "due"})
		require.NoError(t, err)
		require.Less(t, status, 500, "%s", b)
	}
}

// expire lets the time pass for which a killed server still holds what it had taken,
// so that its successor is soon killed in its background work as well.
func expire(ctx context.Context, t *testing.T, db *govdb.DB, columns ...string) {
	t.Helper()
	for _, c := range columns {
		table, column, _ := strings.Cut(c, ".")
		id := map[string]string{"gov_lease": "name", "gov_action": "id", "integration_lane": "tenant"}[table]
		var keys []string
		require.NoError(t, db.Handle().NewRaw("SELECT DISTINCT "+id+" FROM "+table+" WHERE "+column+" > 1").Scan(ctx, &keys))
		for _, key := range keys { // one at a time: the server locks several in its own order
			_, err := db.Handle().ExecContext(ctx, "UPDATE "+table+" SET "+column+" = 1 WHERE "+id+" = ? AND "+column+" > 1", key)
			require.NoError(t, err)
		}
	}
}

// settle lets the last server finish its work and holds everything that was ever
// written against the rules once more.
func settle(t *testing.T, e engine, s *server, w *world, since time.Time, last []*call) {
	t.Helper()
	dsn, schema := e.ours()
	e.read(t, dsn, schema, func(ctx context.Context, db *govdb.DB) {
		expire(ctx, t, db, "gov_lease.until", "integration_lane.lease_until", "gov_action.lease_until")
		var left []struct {
			What string
			N    int
		}
		require.Eventually(t, func() bool {
			err := db.Handle().NewRaw(`SELECT 'events without a number' AS what, COUNT(*) AS n FROM gov_event WHERE n IS NULL
				UNION ALL SELECT 'records without a signature', COUNT(*) FROM gov_record WHERE n IS NULL OR n >= COALESCE((SELECT MAX(size) FROM gov_checkpoint), 0)
				UNION ALL SELECT 'events not handed to the targets', COUNT(*) FROM gov_event WHERE n > (SELECT n FROM gov_consumer WHERE name = 'integrations')
				UNION ALL SELECT 'approved and not executed', COUNT(*) FROM gov_action WHERE state IN ('approved', 'executing', 'unknown') AND name IN ('tenant.credit', 'tenant.plan', 'tenant.export')`).Scan(ctx, &left)
			return err == nil && !slices.ContainsFunc(left, func(l struct {
				What string
				N    int
			}) bool {
				return l.N > 0
			})
		}, 30*time.Second, 100*time.Millisecond, "the server does not finish what it has begun: %v\n%s", &left, s.log)
		w.check(ctx, t, db, since)
		require.Empty(t, w.acknowledged(ctx, t, db, last))
		fresh := newWorld() // from the beginning, with nothing remembered
		fresh.check(ctx, t, db, time.Unix(0, 0))
		for id := range w.records {
			if _, still := fresh.records[id]; !still {
				t.Errorf("record %s was there and is lost", id)
			}
		}
		filesOf(ctx, t, db, e)
	})
}
