package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// TestLedger_Outside takes a real server's ledger out of it: served, exported, proved for
// a tenant, published to a file and a webhook; then its key is rotated, and the data
// restored to before what was published.
func TestLedger_Outside(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			data, file := t.TempDir(), filepath.Join(t.TempDir(), "checkpoints")
			posted := make(chan string, 100)
			hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				select {
				case posted <- string(b):
				default:
				}
			}))
			t.Cleanup(hook.Close)
			args := []string{"--data", data}
			if engine == "postgres" {
				args = append(args, "--set", "database="+govtest.PostgresDSN(t), "--set", "database_schema="+govtest.Schema(t))
			}
			args = append(args, "--set", "ledger_publish_file="+file, "--set", "ledger_publish_url="+hook.URL,
				"--set", "allow_outgoing=127.0.0.0/8:"+hook.URL[strings.LastIndex(hook.URL, ":")+1:])
			verb := func(code int, words ...string) string {
				t.Helper()
				var out, log bytes.Buffer
				got := run(context.WithoutCancel(t.Context()), append(words, args...), nil, &out, &log)
				require.Equal(t, code, got, "%v: %s%s", words, out.String(), log.String())
				return out.String() + log.String()
			}
			s := startServe(t, args...)
			admin, _, _ := firstPeople(t, s)
			var c struct {
				Note string `json:"note"`
				Key  string `json:"verifier_key"`
			}
			require.Eventually(t, func() bool { // the first one is signed a moment after the first record
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/ledger/checkpoint", nil)
				require.NoError(t, err)
				if admin.key != "" {
					req.Header.Set("Authorization", "Bearer "+admin.key)
				}
				res, err := admin.http.Do(req)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				return res.StatusCode == http.StatusOK
			}, 20*time.Second, 20*time.Millisecond)
			require.NoError(t, json.Unmarshal([]byte(admin.send(t, http.MethodGet, s.url+"/v1/ledger/checkpoint", nil, http.StatusOK)), &c))

			// Any client reads the served log, when it may.
			admin.send(t, http.MethodGet, s.url+"/v1/ledger/log/nothing", nil, http.StatusNotFound)
			require.Contains(t, admin.send(t, http.MethodGet, s.url+"/v1/ledger/log/checkpoint", nil, http.StatusOK), "reeve-tenants")
			res, err := http.Get(s.url + "/v1/ledger/log/checkpoint")
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, http.StatusUnauthorized, res.StatusCode)

			var proof offline.TenantProof
			require.NoError(t, json.Unmarshal([]byte(admin.send(t, http.MethodGet, s.url+"/v1/ledger/proof", nil, http.StatusOK)), &proof))
			require.NotEmpty(t, proof.Records)
			require.NoError(t, offline.VerifyTenant(c.Key, proof), "what the API answers is what the verifier reads")

			select {
			case note := <-posted:
				_, err := offline.ParseHead([]byte(note), c.Key)
				require.NoError(t, err)
			case <-time.After(20 * time.Second):
				t.Fatal("nothing is published")
			}
			require.Zero(t, s.term(t), s.log)

			dir := filepath.Join(t.TempDir(), "log")
			require.Contains(t, verb(0, "ledger", "export", dir), "Verification key: "+c.Key)
			rep, err := offline.Check(t.Context(), offline.Dir(dir), c.Key, &offline.Options{Earlier: []string{c.Note}})
			require.NoError(t, err)
			require.Empty(t, rep.Problems)
			require.True(t, rep.Manifest)
			require.Contains(t, verb(1, "ledger", "export", dir), "not empty")
			require.NoError(t, json.Unmarshal([]byte(verb(0, "ledger", "tenant", "")), &proof))
			require.NoError(t, offline.VerifyTenant(c.Key, proof))

			// A new key: whoever has the old one is led to it.
			waitForLease(t, func() bool {
				var out, log bytes.Buffer
				return run(context.WithoutCancel(t.Context()), append([]string{"ledger", "rotate"}, args...), nil, &out, &log) == 0
			})
			require.Contains(t, verb(0, "ledger", "verify"), "as it was signed")
			s = startServe(t, args...)
			require.Empty(t, s.link)
			admin.send(t, http.MethodPost, s.url+"/v1/invitations", invitation("Kim", "cs_agent"), http.StatusOK)
			var now struct {
				Note string `json:"note"`
				Key  string `json:"verifier_key"`
			}
			require.Eventually(t, func() bool {
				require.NoError(t, json.Unmarshal([]byte(admin.send(t, http.MethodGet, s.url+"/v1/ledger/checkpoint", nil, http.StatusOK)), &now))
				_, err := offline.ParseHead([]byte(now.Note), now.Key)
				return err == nil
			}, 30*time.Second, 50*time.Millisecond, "the new key signs")
			require.NotEqual(t, c.Key, now.Key)
			require.Zero(t, s.term(t), s.log)
			dir = filepath.Join(t.TempDir(), "log")
			verb(0, "ledger", "export", dir)
			rep, err = offline.Check(t.Context(), offline.Dir(dir), c.Key, &offline.Options{Earlier: []string{c.Note}})
			require.NoError(t, err)
			require.Empty(t, rep.Problems)

			// A head that was published and is not here: nothing is signed over it.
			key := ledgerKeyOf(t, data, engine, args)
			lost := publishedElsewhere(t, key)
			require.NoError(t, os.WriteFile(file, []byte(lost+"\n"), 0o600))
			s = startServe(t, args...)
			admin.send(t, http.MethodPost, s.url+"/v1/invitations", invitation("Lee", "cs_agent"), http.StatusOK)
			require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "nothing is signed any more") }, 30*time.Second, 50*time.Millisecond, s.log)
			_ = s.term(t)
			lostFile := filepath.Join(t.TempDir(), "lost")
			require.NoError(t, os.WriteFile(lostFile, []byte(lost), 0o600))
			waitForLease(t, func() bool {
				var out, log bytes.Buffer
				return run(context.WithoutCancel(t.Context()), append([]string{"ledger", "renew", "--origin", "reeve.local/2", "--lost", lostFile}, args...), nil, &out, &log) == 0
			})
			require.NoError(t, os.Remove(file))
			s = startServe(t, args...)
			admin.send(t, http.MethodPost, s.url+"/v1/invitations", invitation("Pat", "cs_agent"), http.StatusOK)
			require.Eventually(t, func() bool {
				require.NoError(t, json.Unmarshal([]byte(admin.send(t, http.MethodGet, s.url+"/v1/ledger/checkpoint", nil, http.StatusOK)), &now))
				return strings.HasPrefix(now.Note, "reeve.local/2\n")
			}, 30*time.Second, 50*time.Millisecond)
			require.Zero(t, s.term(t), s.log)
			require.Contains(t, verb(0, "ledger", "verify"), "signed by reeve.local/2")
		})
	}
}

// waitForLease tries until the lease of the server that was stopped is over.
func waitForLease(t *testing.T, try func() bool) {
	t.Helper()
	require.Eventually(t, try, 40*time.Second, time.Second)
}

// publishedElsewhere is a head of a large tree, signed with skey.
func publishedElsewhere(t *testing.T, skey string) string {
	t.Helper()
	signer, err := note.NewSigner(skey)
	require.NoError(t, err)
	signed, err := note.Sign(&note.Note{Text: signer.Name() + "\n100000\n" + tlog.Hash{1}.String() + "\n"}, signer)
	require.NoError(t, err)
	return string(signed)
}

func ledgerKeyOf(t *testing.T, data, engine string, args []string) string {
	t.Helper()
	if engine == "sqlite" {
		b, err := os.ReadFile(filepath.Join(data, "keys", "ledger"))
		require.NoError(t, err)
		return strings.TrimSpace(string(b))
	}
	flags := map[string]string{}
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok {
			flags[k] = v
		}
	}
	db, err := opendb.Open(t.Context(), flags["database"], &opendb.Options{Schema: flags["database_schema"], MaxConns: 1})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	key, err := secrets{db, ""}.peek(t.Context(), "ledger")
	require.NoError(t, err)
	return key
}
