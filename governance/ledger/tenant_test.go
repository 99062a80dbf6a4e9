package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// addFor appends one record for each tenant named, in this order.
func addFor(t testing.TB, e *govtest.Env, log *ledger.Log, tenants ...string) {
	t.Helper()
	for i, tenant := range tenants {
		body := fmt.Sprintf(`{"i":%d,"tenant":%q}`, i, tenant)
		if tenant == "" {
			body = fmt.Sprintf(`{"i":%d}`, i)
		}
		require.NoError(t, e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
			_, err := log.Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Tenant: tenant, Kind: "test", At: e.Now(), Body: []byte(body)})
			return err
		}))
	}
	_, err := log.Seal(context.Background())
	require.NoError(t, err)
}

func TestLog_ProveTenant(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx, log := t.Context(), e.Kernel.Ledger()
		addFor(t, e, log, "acme", "globex", "", "acme")
		addFor(t, e, log, "globex", "acme", "")
		first, err := log.Checkpoint(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 7, first.Size)
		addFor(t, e, log, "acme", "initech", "acme", "globex")

		for _, c := range []struct {
			tenant string
			from   int64
			want   int
		}{{"acme", 0, 5}, {"acme", 4, 3}, {"acme", 7, 2}, {"acme", 11, 0}, {"initech", 7, 1}, {"", 7, 0}, {"", 0, 2}, {"nobody", 0, 0}, {"nobody", 4, 0}} {
			p, err := log.ProveTenant(ctx, c.tenant, c.from)
			require.NoError(t, err)
			require.Len(t, p.Records, c.want, "%+v", c)
			require.NoError(t, ledger.VerifyTenant(log.VerifierKey(), p), "%+v", c)
		}
		_, err = log.ProveTenant(ctx, "acme", 5)
		require.ErrorIs(t, err, ledger.ErrNotFound, "no checkpoint has this size")

		good, err := log.ProveTenant(ctx, "acme", 7)
		require.NoError(t, err)
		other, err := log.ProveTenant(ctx, "globex", 7)
		require.NoError(t, err)
		older, err := log.ProveTenant(ctx, "acme", 4)
		require.NoError(t, err)
		for name, change := range map[string]func(p *ledger.TenantProof){
			"one left out":        func(p *ledger.TenantProof) { p.Records = p.Records[1:] },
			"the last left out":   func(p *ledger.TenantProof) { p.Records = p.Records[:1] },
			"all left out":        func(p *ledger.TenantProof) { p.Records = nil },
			"out of order":        func(p *ledger.TenantProof) { slices.Reverse(p.Records) },
			"one twice":           func(p *ledger.TenantProof) { p.Records = append(p.Records, p.Records[1]) },
			"another's":           func(p *ledger.TenantProof) { p.Records[1] = other.Records[0] },
			"an edited record":    func(p *ledger.TenantProof) { p.Records[0].Body = strings.Replace(p.Records[0].Body, "0", "1", 1) },
			"a head that is less": func(p *ledger.TenantProof) { h := *p.To.Head; h.Seq--; p.To.Head = &h; p.Records = p.Records[:1] },
			"no head":             func(p *ledger.TenantProof) { p.To.Head = nil; p.From = nil; p.Records = nil },
			"the head of another": func(p *ledger.TenantProof) { p.To = other.To },
			"another tenant":      func(p *ledger.TenantProof) { p.Tenant = "globex" },
			"from somewhere else": func(p *ledger.TenantProof) { p.From = older.From },
			"from the beginning":  func(p *ledger.TenantProof) { p.From = nil },
			"from after to":       func(p *ledger.TenantProof) { to := p.To; p.To, p.From, p.Records = *p.From, &to, nil },
			"a path changed":      func(p *ledger.TenantProof) { p.To.Path = slices.Clone(p.To.Path); p.To.Path[0] = p.To.Checkpoint[:1] },
			"a path cut":          func(p *ledger.TenantProof) { p.To.Path = p.To.Path[1:] },
			"two heads": func(p *ledger.TenantProof) {
				key := offline.TenantKey("acme")
				p.To.Bucket = append(p.To.Bucket, [2]string{key.String(), key.String()})
			},
		} {
			bad := good
			from := *good.From
			bad.From, bad.Records = &from, slices.Clone(good.Records)
			change(&bad)
			require.ErrorIs(t, ledger.VerifyTenant(log.VerifierKey(), bad), ledger.ErrBadProof, name)
		}
		require.NoError(t, ledger.VerifyTenant(log.VerifierKey(), good), "the cases changed copies")
	})
}

// TestLog_TenantsOfAnOlderLog: a log that is older than the sequences, whose checkpoints
// say nothing of tenants, is caught up with; what it signed before stays valid.
func TestLog_TenantsOfAnOlderLog(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
		skey, vkey, err := ledger.GenerateKey("reeve.test")
		require.NoError(t, err)
		open := func() *ledger.Log {
			l, err := ledger.New(e.DB, skey, nil)
			require.NoError(t, err)
			return l
		}
		old := open()
		old.SetCatchUp(0) // never gets to the sequences, like one that does not know them
		addFor(t, e, old, "acme", "globex", "acme", "acme", "globex", "acme", "acme")
		before, err := old.Checkpoint(ctx)
		require.NoError(t, err)
		require.NotContains(t, before.Note, "reeve-tenants")
		for _, table := range []string{"gov_tenant_head", "gov_lease"} { // and that server is gone
			_, err = e.DB.Handle().ExecContext(ctx, "DELETE FROM "+table)
			require.NoError(t, err)
		}
		log := open()
		log.SetCatchUp(5)
		addFor(t, e, log, "acme")
		step, err := log.Checkpoint(ctx)
		require.NoError(t, err)
		require.NotContains(t, step.Note, "reeve-tenants", "not caught up with yet")
		addFor(t, e, log, "globex")
		now, err := log.Checkpoint(ctx)
		require.NoError(t, err)
		require.Contains(t, now.Note, "reeve-tenants 2 ")

		p, err := log.ProveTenant(ctx, "acme", 0)
		require.NoError(t, err)
		require.Len(t, p.Records, 6)
		require.NoError(t, ledger.VerifyTenant(vkey, p))
		p, err = log.ProveTenant(ctx, "acme", before.Size)
		require.NoError(t, err)
		require.ErrorContains(t, ledger.VerifyTenant(vkey, p), "says nothing of tenants")
		rep, err := log.Verify(ctx)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		_, err = note.Open([]byte(before.Note), note.VerifierList(verifierOf(t, vkey)))
		require.NoError(t, err)
	})
}

func verifierOf(t testing.TB, vkey string) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	require.NoError(t, err)
	return v
}

// TestLog_TenantsSurviveATornSeal: what a seal that failed has left in memory is not
// taken for what is stored.
func TestLog_TenantsSurviveATornSeal(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		log := e.Kernel.Ledger()
		addFor(t, e, log, "acme", "globex")
		_, err := e.DB.Handle().ExecContext(t.Context(), "ALTER TABLE gov_checkpoint RENAME TO gov_checkpoint_away")
		require.NoError(t, err)
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
			_, err := log.Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Tenant: "acme", Kind: "test", At: e.Now(), Body: []byte(`{"tenant":"acme"}`)})
			return err
		}))
		_, err = log.Seal(t.Context())
		require.Error(t, err)
		_, err = e.DB.Handle().ExecContext(t.Context(), "ALTER TABLE gov_checkpoint_away RENAME TO gov_checkpoint")
		require.NoError(t, err)
		addFor(t, e, log, "globex")
		rep, err := log.Verify(t.Context())
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		p, err := log.ProveTenant(t.Context(), "acme", 0)
		require.NoError(t, err)
		require.NoError(t, ledger.VerifyTenant(log.VerifierKey(), p))
	})
}

// TestTenantMap checks the map that grows by changes against the one made at once.
func TestTenantMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		grown, heads := offline.NewTenantMap(), map[string]offline.TenantHead{}
		for i, tenant := range rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f"}), 1, 40).Draw(r, "tenants") {
			h := heads[tenant]
			h.Tenant = tenant
			h.Add(int64(i), offline.TenantKey(fmt.Sprint(i)))
			heads[tenant] = h
			grown.Set(h)
		}
		var all []offline.TenantHead
		for _, h := range heads {
			all = append(all, h)
		}
		if at := offline.NewTenantMap(all...); at.Root() != grown.Root() || at.Extension() != grown.Extension() {
			r.Fatal("the order of changes shows in the root")
		}
	})
}

func TestTenantOf(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"tenant":"acme"}`: "acme",
		`{"a":{"tenant":"x"},"b":["tenant",{"tenant":"y"}],"tenant":"z"}`: "z",
		`{"a":"\"tenant\":\"x\"","tenant":"z"}`:                           "z",
		`{"a":"\\","tenant":"z"}`:                                         "z",
		`{"a":-1.5e3,"b":true,"c":null,"d":{},"e":[],"tenant":"z"}`:       "z",
		" {\n\t\"a\" : [ 1 , 2 ] ,\r \"tenant\" : \"z\" } ":               "z",
		`{"tenant":"é\"\n"}`:                                              "é\"\n",
		`{"tenant":7,"b":1}`:                                              "",
		`{"tenants":"x"}`:                                                 "",
		`{"Tenant":"x"}`:                                                  "",
		`{}`:                                                              "",
		`["tenant","x"]`:                                                  "",
		`"tenant"`:                                                        "",
		`null`:                                                            "",
		``:                                                                "",
		`{"tenant":"x`:                                                    "",
		`{"a`:                                                             "",
		`{"a":}`:                                                          "",
	} {
		require.Equal(t, want, offline.TenantOf([]byte(body)), body)
	}
}

func FuzzTenantOf(f *testing.F) {
	f.Add([]byte(`{"a":["\\\"",{}],"tenant":"x"}`))
	f.Add([]byte(`{"a":"`))
	f.Fuzz(func(_ *testing.T, b []byte) { offline.TenantOf(b) }) // it ends, whatever it is given
}

func TestVerify_TenantTampering(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"filed elsewhere": {"UPDATE gov_record SET tenant = 'globex' WHERE n = 1", "filed under another tenant"},
		"head edited":     {"UPDATE gov_tenant_head SET seq = seq + 1 WHERE tenant = 'acme'", "stored sequence of tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
				addFor(t, e, e.Kernel.Ledger(), "acme", "acme", "globex")
				dropTriggers(t, e)
				_, err := e.DB.Handle().ExecContext(t.Context(), c.sql)
				require.NoError(t, err)
				rep, err := e.Kernel.Ledger().Verify(t.Context())
				require.NoError(t, err)
				require.Contains(t, strings.Join(rep.Problems, "\n"), c.want)
			})
		})
	}
}
