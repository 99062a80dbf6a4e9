package pack_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

func check(t testing.TB, vkey string, b []byte) pack.Report {
	t.Helper()
	rep, err := pack.Verify(bytes.NewReader(b), int64(len(b)), vkey)
	require.NoError(t, err)
	return rep
}

func rig(t testing.TB) (*evidencetest.Rig, string) {
	r := evidencetest.New(t, govtest.New(t, evidencetest.Options()))
	return r, r.Kernel.Ledger().VerifierKey()
}

func texts(rep pack.Report) string {
	var out []string
	for _, p := range rep.Problems {
		out = append(out, p.String())
	}
	return strings.Join(out, "\n")
}

// places says in which file of a pack each byte stands: its header and its contents.
func places(t testing.TB, b []byte) []string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	out := make([]string, len(b))
	for i := range out {
		out[i] = "the zip's directory"
	}
	at := 0
	for _, f := range z.File {
		off, err := f.DataOffset()
		require.NoError(t, err)
		end := int(off) + int(f.UncompressedSize64)
		for ; at < end; at++ {
			out[at] = f.Name
		}
	}
	return out
}

// TestVerify_EveryByte flips every byte of a small pack: each flip is found, and named
// by the file it stands in.
func TestVerify_EveryByte(t *testing.T) {
	t.Parallel()
	r, vkey := rig(t)
	a := r.Ask(t, 5000, "goodwill")
	b := r.Build(t, pack.KindAction, a.ID)
	require.Empty(t, texts(check(t, vkey, b)))
	at := places(t, b)
	for i := range b {
		bit := byte(1) << (i % 8)
		b[i] ^= bit
		rep := check(t, vkey, b)
		b[i] ^= bit
		require.NotEmpty(t, rep.Problems, "byte %d of %s", i, at[i])
		require.Equal(t, at[i], rep.Problems[0].Place, "byte %d: %s", i, texts(rep))
	}
	require.Empty(t, texts(check(t, vkey, b)), "as it was")
	t.Logf("%d bytes", len(b))
}

func TestVerify_RandomBytesOfALargerOne(t *testing.T) {
	t.Parallel()
	r, vkey := rig(t)
	b := r.Build(t, pack.KindSession, r.Session(t, 40).ID)
	rep := check(t, vkey, b)
	require.Empty(t, texts(rep))
	require.Equal(t, 41, rep.Chunks)
	at := places(t, b)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 800 {
		i := rnd.IntN(len(b))
		old := b[i]
		b[i] = byte(rnd.IntN(256))
		if b[i] == old {
			continue
		}
		rep := check(t, vkey, b)
		b[i] = old
		require.NotEmpty(t, rep.Problems, "byte %d of %s", i, at[i])
		require.Equal(t, at[i], rep.Problems[0].Place)
	}
	for _, n := range []int{0, 1, 29, 43, len(b) / 3, len(b) / 2, len(b) - 22, len(b) - 1} {
		require.NotEmpty(t, check(t, vkey, b[:n]).Problems, "cut at %d", n)
	}
	require.Contains(t, texts(check(t, vkey, append(slices.Clone(b), 0))), "directory")
	require.NotEmpty(t, check(t, vkey, append([]byte{'x'}, b...)).Problems)
	t.Logf("%d bytes", len(b))
}

// TestVerify_ForgedManifest changes one byte of each file and makes manifest, CRC and
// content digest fit again, as somebody without the key could.
func TestVerify_ForgedManifest(t *testing.T) {
	t.Parallel()
	r, vkey := rig(t)
	for _, b := range [][]byte{r.Build(t, pack.KindAction, r.Executed(t, "goodwill").ID), r.Build(t, pack.KindSession, r.Session(t, 2).ID)} {
		rnd := rand.New(rand.NewPCG(3, 4))
		good := pack.Take(b)
		require.Equal(t, b, good.Zip(), "taking apart and putting together changes nothing")
		for _, name := range slices.Sorted(maps.Keys(good.Files)) {
			data := good.Files[name]
			for range 12 {
				f := pack.Take(b)
				i := rnd.IntN(len(data))
				f.Files[name][i] ^= 1 << rnd.IntN(8)
				if name == "seal/checkpoint" && i > strings.LastIndex(string(data), " ") && strings.Contains(string(data[i:]), "=") && len(data)-i <= 4 {
					continue // unused bits of the signature's base64
				}
				require.NotEmpty(t, check(t, vkey, f.Zip()).Problems, "%s, byte %d", name, i)
			}
			f := pack.Take(b)
			delete(f.Files, name)
			require.NotEmpty(t, check(t, vkey, f.Zip()).Problems, "without %s", name)
		}
		f := pack.Take(b)
		f.Files["records/extra.json"] = []byte("{}")
		require.Contains(t, texts(check(t, vkey, f.Zip())), "records/extra.json")
		f = pack.Take(b)
		f.Files["notes.txt"] = []byte("hello")
		require.Contains(t, texts(check(t, vkey, f.Zip())), "notes.txt: does not belong")
		for _, change := range []func(m *pack.Manifest){
			func(m *pack.Manifest) { m.Subject.ID = m.ID }, func(m *pack.Manifest) { m.Subject.Tenant = "other" }, func(m *pack.Manifest) { m.MadeBy = "user:x" },
			func(m *pack.Manifest) { m.MadeAt = m.MadeAt.Add(time.Second) }, func(m *pack.Manifest) { m.Reason += "." }, func(m *pack.Manifest) { m.Software = "x" },
			func(m *pack.Manifest) { m.Withheld = append(m.Withheld, "x") }, func(m *pack.Manifest) { m.Disclose = !m.Disclose }, func(m *pack.Manifest) { m.ID = m.Subject.ID },
		} {
			f := pack.Take(b)
			change(&f.M)
			require.Contains(t, texts(check(t, vkey, f.Zip())), "seal/record.json")
		}
	}
}

func recordOf(t *testing.T, f *pack.Forgery, action, outcome string) string {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(f.Files)) {
		var r struct{ Action, Outcome string }
		if strings.HasPrefix(name, "records/") && json.Unmarshal(f.Files[name], &r) == nil && r.Action == action && r.Outcome == outcome {
			return name
		}
	}
	t.Fatalf("no record %s %s", action, outcome)
	return ""
}

func recordID(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "records/"), ".json")
}

func dropRecord(f *pack.Forgery, name string) {
	delete(f.Files, name)
	pack.Edit(f, "seal/proofs.json", func(ps *[]pack.Proof) {
		*ps = slices.DeleteFunc(*ps, func(p pack.Proof) bool { return p.Record == recordID(name) })
	})
	pack.Edit(f, "personal.json", func(ps *[]pack.Personal) {
		*ps = slices.DeleteFunc(*ps, func(p pack.Personal) bool { return p.Record == recordID(name) })
	})
}

// TestVerify_Tampering takes the manifest's digest out of the way: what is left must
// be found by what the records say of each other.
func TestVerify_Tampering(t *testing.T) {
	t.Parallel()
	r, vkey := rig(t)
	ap := r.Executed(t, "goodwill")
	other := r.Vote(t, r.Ask(t, 7000, "another"), governance.Approve, "fay", "sue")
	action := r.Build(t, pack.KindAction, ap.ID)
	session := r.Build(t, pack.KindSession, r.Session(t, 3).ID)
	second := pack.Take(r.Build(t, pack.KindAction, other.ID))
	dir := "actions/" + ap.ID.String() + "/"
	for name, c := range map[string]struct {
		of     []byte
		change func(f *pack.Forgery)
		want   []string
	}{
		"a vote is removed": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"votes.json", func(v *[]pack.Vote) { *v = (*v)[1:] })
		}, []string{"leaves out the vote of record", "was approved by fay, fin, sue, the votes in the pack are of fin, sue", "executes without its quorum"}},
		"a vote and its record are removed": {action, func(f *pack.Forgery) {
			var id string
			pack.Edit(f, dir+"votes.json", func(v *[]pack.Vote) { id = (*v)[0].Record; *v = (*v)[1:] })
			dropRecord(f, "records/"+id+".json")
		}, []string{"was approved by fay, fin, sue", "executes without its quorum"}},
		"a vote is turned": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"votes.json", func(v *[]pack.Vote) { (*v)[0].Decision = "deny" })
		}, []string{"the vote of fay is not the one of record"}},
		"a voter is put into a group": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"votes.json", func(v *[]pack.Vote) { (*v)[0].Groups = append((*v)[0].Groups, "security") })
		}, []string{"the vote of fay is not the one of record"}},
		"a vote is on another payload": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"votes.json", func(v *[]pack.Vote) { (*v)[0].Digest = pack.Hash(nil) })
		}, []string{"the vote of fay is on another payload"}},
		"a vote is cast twice": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"votes.json", func(v *[]pack.Vote) { *v = append(*v, (*v)[0]) })
		}, []string{"the vote of fay has no record"}},
		"a vote is moved in time": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"votes.json", func(v *[]pack.Vote) { (*v)[0].At = (*v)[0].At.Add(48 * time.Hour) })
		}, []string{"the vote of fay is not the one of record"}},
		"the payload is changed": {action, func(f *pack.Forgery) {
			f.Files[dir+"payload.json"] = bytes.Replace(f.Files[dir+"payload.json"], []byte("5000"), []byte("9000"), 1)
		}, []string{"payload.json: does not have the digest that was decided on"}},
		"the payload is another action's": {action, func(f *pack.Forgery) {
			f.Files[dir+"payload.json"] = second.Files["actions/"+other.ID.String()+"/payload.json"]
			pack.Edit(f, dir+"action.json", func(a *pack.Action) { a.Digest = string(other.Digest) })
		}, []string{"is about another payload than"}},
		"the time to decide is stretched": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"action.json", func(a *pack.Action) { a.DecideBy = a.DecideBy.Add(time.Hour) })
		}, []string{"gives more time to decide"}},
		"the time to execute is stretched": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"action.json", func(a *pack.Action) { a.ExecuteBy = a.ExecuteBy.Add(time.Hour) })
		}, []string{"gives more time to execute"}},
		"the time to execute was over": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"action.json", func(a *pack.Action) { a.ExecuteBy = a.ExecutedAt.Add(-time.Hour) })
		}, []string{"executes after the time to execute"}},
		"the votes were too late": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"action.json", func(a *pack.Action) { a.DecideBy = a.CreatedAt })
		}, []string{"after the time to decide"}},
		"it is said not to be executed": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"action.json", func(a *pack.Action) { a.State = "denied" })
		}, []string{"is denied, which the records about action", "is denied, and no record says so"}},
		"somebody else is said to have asked": {action, func(f *pack.Forgery) {
			pack.Edit(f, dir+"action.json", func(a *pack.Action) { a.Requester, a.Person = "user:fay", "fay" })
		}, []string{"names another requester"}},
		"the policy is softened": {action, func(f *pack.Forgery) {
			f.Files["policies/v1-credits.json"] = bytes.Replace(f.Files["policies/v1-credits.json"], []byte(`"approvals":2`), []byte(`"approvals":1`), 1)
		}, []string{"the policies in the pack are not those that record"}},
		"the policy is missing": {action, func(f *pack.Forgery) { delete(f.Files, "policies/v1-credits.json") }, []string{"policies/v1-credits.json: is missing"}},
		"the execution is left out": {action, func(f *pack.Forgery) {
			dropRecord(f, recordOf(t, f, "tenant.credit", "done"))
		}, []string{"is executed, which the records about action"}},
		"the request is left out": {action, func(f *pack.Forgery) {
			dropRecord(f, recordOf(t, f, "tenant.credit", "held"))
		}, []string{"does not say of itself what record"}},
		"a record is replaced by another genuine one": {action, func(f *pack.Forgery) {
			f.Files[recordOf(t, f, "tenant.credit", "held")] = second.Files[recordOf(t, second, "tenant.credit", "held")]
		}, []string{"holds another record"}},
		"a record is replaced under its own name": {action, func(f *pack.Forgery) {
			old, fresh := recordOf(t, f, "tenant.credit", "held"), recordOf(t, second, "tenant.credit", "held")
			dropRecord(f, old)
			f.Files[fresh] = second.Files[fresh]
			var proof pack.Proof
			pack.Edit(second, "seal/proofs.json", func(ps *[]pack.Proof) {
				proof = (*ps)[slices.IndexFunc(*ps, func(p pack.Proof) bool { return p.Record == recordID(fresh) })]
			})
			pack.Edit(f, "seal/proofs.json", func(ps *[]pack.Proof) { *ps = append(*ps, proof) })
		}, []string{"does not say of itself what record"}},
		"a record is edited": {action, func(f *pack.Forgery) {
			name := recordOf(t, f, "approval.vote", "done")
			f.Files[name] = bytes.Replace(f.Files[name], []byte("seen by fay"), []byte("SEEN by fay"), 1)
		}, []string{"is not in the log at leaf"}},
		"a place is moved": {action, func(f *pack.Forgery) {
			pack.Edit(f, "seal/proofs.json", func(ps *[]pack.Proof) { (*ps)[0].N, (*ps)[1].N = (*ps)[1].N, (*ps)[0].N })
		}, []string{"is not in the log at leaf"}},
		"a proof is missing": {action, func(f *pack.Forgery) {
			pack.Edit(f, "seal/proofs.json", func(ps *[]pack.Proof) { *ps = (*ps)[1:] })
		}, []string{"is not proven to the checkpoint"}},
		"another pack's record": {action, func(f *pack.Forgery) {
			f.Files["seal/record.json"] = second.Files["seal/record.json"]
			f.Files["seal/proofs.json"], f.Files["seal/checkpoint"] = second.Files["seal/proofs.json"], second.Files["seal/checkpoint"]
		}, []string{"was written about a pack with other contents"}},
		"the checkpoint grows": {action, func(f *pack.Forgery) {
			f.Files["seal/checkpoint"] = bytes.Replace(f.Files["seal/checkpoint"], []byte("reeve.test\n"), []byte("reeve.test\n1"), 1)
		}, []string{"seal/checkpoint: is not signed by the key given"}},
		"a personal value is hidden": {action, func(f *pack.Forgery) {
			pack.Edit(f, "personal.json", func(ps *[]pack.Personal) { *ps = (*ps)[1:] })
		}, []string{"does not say what became of"}},
		"a personal value is made up": {action, func(f *pack.Forgery) {
			pack.Edit(f, "personal.json", func(ps *[]pack.Personal) {
				(*ps)[0].State, (*ps)[0].Value, (*ps)[0].Salt = pack.Disclosed, "Somebody", make([]byte, 16)
			})
		}, []string{"is not the one that record"}},
		"an alert is taken by somebody": {action, func(f *pack.Forgery) {
			pack.Edit(f, "alerts.json", func(as *[]pack.Alert) { (*as)[0].AckedBy, (*as)[0].AckedAt = "user:x", (*as)[0].LastAt })
		}, []string{"was taken by \"user:x\", and no record says so"}},
		"two chunks are swapped": {session, func(f *pack.Forgery) {
			f.Files["recording/00000001.ndjson"], f.Files["recording/00000002.ndjson"] = f.Files["recording/00000002.ndjson"], f.Files["recording/00000001.ndjson"]
		}, []string{"recording/00000001.ndjson: is not the chunk that record", "recording/00000002.ndjson: is not the chunk that record"}},
		"two chunks are swapped with their records": {session, func(f *pack.Forgery) {
			f.Files["recording/00000001.ndjson"], f.Files["recording/00000002.ndjson"] = f.Files["recording/00000002.ndjson"], f.Files["recording/00000001.ndjson"]
			pack.Edit(f, "recording/index.json", func(cs *[]pack.Chunk) { (*cs)[0].Record, (*cs)[1].Record = (*cs)[1].Record, (*cs)[0].Record })
		}, []string{"chunk 1 is not the one that followed", "chunk 2 is not the one that followed"}},
		"a chunk is left out": {session, func(f *pack.Forgery) {
			delete(f.Files, "recording/00000002.ndjson")
			pack.Edit(f, "recording/index.json", func(cs *[]pack.Chunk) { *cs = slices.Delete(*cs, 1, 2) })
		}, []string{"chunk 3 is not the one that followed", "leaves out the chunk of record"}},
		"the last chunk is left out with its record": {session, func(f *pack.Forgery) {
			var last pack.Chunk
			pack.Edit(f, "recording/index.json", func(cs *[]pack.Chunk) { last = (*cs)[len(*cs)-1]; *cs = (*cs)[:len(*cs)-1] })
			delete(f.Files, fmt.Sprintf("recording/%08d.ndjson", last.Seq))
			dropRecord(f, "records/"+last.Record+".json")
			pack.Edit(f, "session/requests.json", func(rs *[]pack.Request) { *rs = (*rs)[:len(*rs)-1] })
		}, []string{"recording/index.json: 1 of 4 requests have no frame, besides 0"}},
		"a request is changed in the list": {session, func(f *pack.Forgery) {
			pack.Edit(f, "session/requests.json", func(rs *[]pack.Request) { (*rs)[0].Path = "/app/other" })
		}, []string{"does not list what the recording shows"}},
		"the session is longer": {session, func(f *pack.Forgery) {
			pack.Edit(f, "session/session.json", func(s *pack.Session) { s.ExpiresAt = s.ExpiresAt.Add(time.Hour) })
		}, []string{"is not the session that record", "another user, scope or length"}},
		"the session had another reach": {session, func(f *pack.Forgery) {
			pack.Edit(f, "session/session.json", func(s *pack.Session) { s.Scope = "read" })
		}, []string{"is not the session that record"}},
		"the session's end is hidden": {session, func(f *pack.Forgery) {
			dropRecord(f, recordOf(t, f, "impersonation.end", "done"))
		}, []string{"says that the session was opened or ended, the records do not"}},
		"a refused request is hidden": {session, func(f *pack.Forgery) {
			dropRecord(f, recordOf(t, f, "impersonation.request", "denied"))
		}, []string{"says that 1 requests were refused, 0 records do"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := pack.Take(c.of)
			c.change(f)
			got := texts(check(t, vkey, f.Zip()))
			for _, want := range c.want {
				require.Contains(t, got, want)
			}
			if !slices.Contains([]string{"a place is moved", "a proof is missing", "the checkpoint grows"}, name) { // these are in the seal itself
				require.Contains(t, got, "seal/record.json", "the log knows nothing of this pack: %s", got)
			}
		})
	}
}

func TestVerify_NamesAFileThatIsNotWhereItBelongs(t *testing.T) {
	t.Parallel()
	r, vkey := rig(t)
	f := pack.Take(r.Build(t, pack.KindAction, r.Ask(t, 5000, "goodwill").ID))
	b := f.Zip()
	var names []string
	var data [][]byte
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err, "any program can open a pack")
	for _, x := range z.File {
		rc, err := x.Open()
		require.NoError(t, err)
		content, err := io.ReadAll(rc)
		require.NoError(t, err)
		names, data = append(names, x.Name), append(data, content)
	}
	require.Equal(t, b, pack.RawZip(names, data), "its bytes follow from its contents")
	at := slices.Index(names, "alerts.json")
	without := pack.RawZip(slices.Delete(slices.Clone(names), at, at+1), slices.Delete(slices.Clone(data), at, at+1))
	require.Contains(t, texts(check(t, vkey, without)), "alerts.json: ")
	swapped := slices.Clone(data)
	swapped[at], swapped[at+1] = swapped[at+1], swapped[at]
	require.Contains(t, texts(check(t, vkey, pack.RawZip(names, swapped))), "alerts.json: ")
	added := pack.RawZip(append(slices.Clone(names), "zzz.txt"), append(slices.Clone(data), []byte("x")))
	require.Contains(t, texts(check(t, vkey, added)), "directory")
}

func TestVerify_AnotherKey(t *testing.T) {
	t.Parallel()
	r, _ := rig(t)
	b := r.Build(t, pack.KindAction, r.Ask(t, 5000, "goodwill").ID)
	_, other, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	got := texts(check(t, other, b))
	require.Contains(t, got, "seal/checkpoint: is not signed by the key given")
	_, err = pack.Verify(bytes.NewReader(b), int64(len(b)), "nonsense")
	require.ErrorContains(t, err, "key does not parse")
	_, err = pack.Verify(bytes.NewReader(b), pack.MaxSize+1, other)
	require.ErrorContains(t, err, "at most")
}

// TestUnmet: a person fills one place over everything that holds an act, whichever
// alternative is taken.
func TestUnmet(t *testing.T) {
	t.Parallel()
	all, either := map[string]int{"finance": 1}, map[string]int{"finance": 1, "security": 2}
	both := []string{"finance", "security"}
	require.Empty(t, pack.Unmet(all, either, map[string][]string{"a": {"finance"}}), "of the same group is asked once")
	require.NotEmpty(t, pack.Unmet(map[string]int{"finance": 2}, either, map[string][]string{"a": {"finance"}}), "as often as the stricter asks")
	either = map[string]int{"security": 2}
	require.NotEmpty(t, pack.Unmet(all, either, map[string][]string{"a": both, "b": {"security"}}), "a is needed twice")
	require.NotEmpty(t, pack.Unmet(map[string]int{"finance": 0}, either, map[string][]string{"a": both, "b": {"security"}}), "none is no quorum")
	require.Empty(t, pack.Unmet(all, either, map[string][]string{"a": both, "b": {"security"}, "c": both}))
}

// TestUnfilled: a person fills one place, whatever groups they are in.
func TestUnfilled(t *testing.T) {
	t.Parallel()
	groups, want := []string{"finance", "security"}, []int{2, 1}
	both := []string{"finance", "security"}
	require.Empty(t, pack.Unfilled(groups, want, map[string][]string{"a": {"finance"}, "b": {"finance"}, "c": {"security"}}))
	require.Empty(t, pack.Unfilled(groups, want, map[string][]string{"a": both, "b": {"finance"}, "c": both}), "a may stand for either")
	require.NotEmpty(t, pack.Unfilled(groups, want, map[string][]string{"a": both, "b": {"finance"}}), "a stands for one only")
	require.NotEmpty(t, pack.Unfilled(groups, want, map[string][]string{"a": {"finance"}, "b": {"finance"}, "c": {"finance"}}))
	require.NotEmpty(t, pack.Unfilled(groups, want, nil))
	require.NotEmpty(t, pack.Unfilled([]string{"finance"}, []int{0}, nil), "none is no quorum")
}

// TestCover_HostileText: no value breaks out of its place in the page.
func TestCover_HostileText(t *testing.T) {
	t.Parallel()
	r, vkey := rig(t)
	const evil = "</td></table><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' \u202Etxt.exe\u0007 {{.M}} <!-- javascript:alert(3)"
	a := r.Ask(t, 5000, evil)
	_, err := r.Kernel.Decide(t.Context(), r.As("fay"), a.ID, governance.Vote{Decision: governance.Reject, Digest: a.Digest, Comment: evil})
	require.NoError(t, err)
	b := r.Build(t, pack.KindAction, a.ID)
	require.Empty(t, texts(check(t, vkey, b)))
	page := pack.Take(b).Files["cover.html"]
	require.NotContains(t, string(page), "\u202E")
	require.Contains(t, html.UnescapeString(string(page)), "[U+202E]txt.exe[U+0007]")
	doc, err := html.Parse(bytes.NewReader(page))
	require.NoError(t, err)
	seen := map[string]int{}
	for n := range doc.Descendants() {
		if n.Type == html.CommentNode {
			t.Errorf("a comment: %q", n.Data)
		}
		if n.Type != html.ElementNode {
			continue
		}
		seen[n.Data]++
		for _, at := range n.Attr {
			require.NotContains(t, at.Val, "alert(", "<%s %s>", n.Data, at.Key)
			require.False(t, strings.HasPrefix(at.Key, "on") || at.Key == "src" || at.Key == "href", "<%s %s>", n.Data, at.Key)
		}
	}
	for _, tag := range []string{"script", "img", "iframe", "object", "form", "link", "a", "svg"} {
		require.Zero(t, seen[tag], tag)
	}
	require.Equal(t, 1, seen["style"])
	require.Contains(t, string(page), "&lt;script&gt;alert(1)")
}
