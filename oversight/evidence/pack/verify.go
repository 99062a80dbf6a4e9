package pack

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	flog "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

// Report is what [Verify] found.
type Report struct {
	ID         string    `json:"id"`
	Subject    Subject   `json:"subject"`
	MadeAt     time.Time `json:"made_at"`
	MadeBy     string    `json:"made_by"`
	Software   string    `json:"software"`
	Log        string    `json:"log"`        // origin of the checkpoint
	TreeSize   int64     `json:"tree_size"`  // of the checkpoint
	Signatures int       `json:"signatures"` // of others on the checkpoint, known or not
	// Cosigned are the witnesses whose keys were given and whose signatures hold; Unknown
	// the names of signatures by keys that were not given, which say nothing.
	Cosigned []cosign.Signature `json:"cosigned"`
	Unknown  []string           `json:"unknown"`
	Files    int                `json:"files"`
	Records  int                `json:"records"`
	Votes    int                `json:"votes"`
	Chunks   int                `json:"chunks"`
	Requests int                `json:"requests"`
	Problems []Problem          `json:"problems"` // empty: the pack holds
	Notes    []string           `json:"notes"`    // what is true and worth knowing, and no fault
}

// Problem is one thing that does not hold. Place is the file or the record.
type Problem struct {
	Place string `json:"place"`
	Why   string `json:"why"`
}

// String is the place and the reason.
func (p Problem) String() string { return p.Place + ": " + p.Why }

const maxProblems = 200

// Verify checks a pack with the verification key of the log and nothing else. What
// is wrong with the pack is in the report; an error means that it could not be
// checked at all: it cannot be read, is too large, or the key does not parse.
//
// It holds when every byte is the one that the manifest fixes, the log says that
// this pack was built, every record is proven to the checkpoint, the payload has the
// digest that records and votes carry, the votes are the recorded ones and fill the
// quorum with distinct persons whom nothing excludes and whose groups the records of
// their access give, where there are any, every step lies inside its clock, and the
// recording is the chain of chunks that the log knows.
func Verify(r io.ReaderAt, size int64, vkey string) (Report, error) {
	return VerifyWitnessed(r, size, vkey, cosign.Policy{})
}

// VerifyWitnessed is Verify with the keys of the log's witnesses: the pack holds when
// the checkpoint also bears the signatures of a quorum of them. One that is there and
// does not hold is a problem that names the witness.
func VerifyWitnessed(r io.ReaderAt, size int64, vkey string, witnesses cosign.Policy) (Report, error) {
	rep := Report{Problems: []Problem{}, Notes: []string{}, Cosigned: []cosign.Signature{}, Unknown: []string{}}
	if _, err := witnesses.Verifiers(); err != nil {
		return rep, fmt.Errorf("evidence pack: %w", err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return rep, errors.New("evidence pack: the verification key does not parse")
	}
	b, err := readAll(r, size)
	if err != nil {
		return rep, err
	}
	m, files, problems := readZip(b)
	rep.ID, rep.Subject, rep.MadeAt, rep.MadeBy, rep.Software, rep.Files = m.ID, m.Subject, m.MadeAt, m.MadeBy, m.Software, len(files)
	if len(problems) > 0 {
		rep.Problems = problems
		return rep, nil
	}
	v := &verification{rep: &rep, m: m, witnesses: witnesses, files: files, seen: map[string]bool{}, records: map[string]*record{}}
	v.seal(vkey, verifier)
	v.personal()
	v.actions()
	v.session()
	v.alerts()
	v.rest()
	return rep, nil
}

// record is a ledger record of the pack.
type record struct {
	place   string
	body    []byte
	proven  bool
	n       int64
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	At      string `json:"at"`
	Action  string `json:"action"`
	Outcome string `json:"outcome"`
	Tenant  string `json:"tenant"`
	Res     string `json:"resource"`
	Actor   struct {
		ID     string `json:"id"`
		Person string `json:"person"`
		Kind   string `json:"kind"`
		Tenant string `json:"tenant"`
	} `json:"actor"`
	Subject *struct {
		ID     string `json:"id"`
		Person string `json:"person"`
	} `json:"subject"`
	Session   string            `json:"session"`
	ActionID  string            `json:"action_id"`
	Digest    string            `json:"digest"`
	Personal  map[string]string `json:"personal"`
	Bootstrap bool              `json:"bootstrap"`
	Data      json.RawMessage   `json:"data"`
	at        time.Time
}

const recordKind = "reeve/record/v1"

type verification struct {
	rep       *Report
	m         Manifest
	witnesses cosign.Policy
	files     map[string][]byte
	seen      map[string]bool // files that were looked at
	records   map[string]*record
}

func (v *verification) bad(place, format string, args ...any) {
	if len(v.rep.Problems) < maxProblems {
		v.rep.Problems = append(v.rep.Problems, Problem{place, fmt.Sprintf(format, args...)})
	}
}

func (v *verification) note(format string, args ...any) {
	v.rep.Notes = append(v.rep.Notes, fmt.Sprintf(format, args...))
}

// file reads a JSON file strictly: a field that this program does not know might
// change what the others mean.
func (v *verification) file(name string, into any) bool {
	b, ok := v.files[name]
	if !ok {
		v.bad(name, "is missing")
		return false
	}
	v.seen[name] = true
	if err := strict(b, into); err != nil {
		v.bad(name, "does not parse: %v", err)
		return false
	}
	if again, err := encode(into); err != nil || !bytes.Equal(again, b) {
		v.bad(name, "is not in its canonical form")
		return false
	}
	return true
}

func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// seal checks what ties the pack to the log, and reads the records.
func (v *verification) seal(vkey string, verifier note.Verifier) {
	if v.m.Key != vkey {
		v.bad(manifestName, "names the key %q, which is not the one given", v.m.Key)
	}
	v.seen["cover.html"] = true
	if _, ok := v.files["cover.html"]; !ok {
		v.bad("cover.html", "is missing")
	}
	for _, f := range v.m.Files {
		if id, ok := strings.CutPrefix(f.Name, "records/"); ok {
			v.record(f.Name, strings.TrimSuffix(id, ".json"))
		}
	}
	v.rep.Records = len(v.records)
	content, err := v.m.contentDigest()
	if err != nil || content != v.m.Content {
		v.bad(manifestName, "does not have the content digest it names")
	}
	built := v.record(sealDir+"record.json", "")
	if built != nil {
		var data struct {
			Pack    string `json:"pack"`
			Content string `json:"content"`
		}
		_ = json.Unmarshal(built.Data, &data)
		switch {
		case built.Action != ActionBuild || built.Outcome != "done":
			v.bad(built.place, "record %s is not about a pack that was built", built.ID)
		case data.Pack != v.m.ID || data.Content != content:
			v.bad(built.place, "record %s was written about a pack with other contents: a file was changed, added or taken out", built.ID)
		case built.Actor.ID != v.m.MadeBy:
			v.bad(manifestName, "names %q as who made it, record %s names %q", v.m.MadeBy, built.ID, built.Actor.ID)
		case !near(built.at, v.m.MadeAt, time.Hour):
			v.bad(manifestName, "has another time than record %s", built.ID)
		}
	}
	v.proofs(verifier)
}

func (v *verification) record(name, id string) *record {
	b, ok := v.files[name]
	if !ok {
		v.bad(name, "is missing")
		return nil
	}
	v.seen[name] = true
	r := &record{place: name, body: b}
	if err := json.Unmarshal(b, r); err != nil {
		v.bad(name, "does not parse: %v", err)
		return nil
	}
	if r.Kind != recordKind {
		v.bad(name, "is a record of the kind %q, want %q", r.Kind, recordKind)
		return nil
	}
	if id != "" && r.ID != id {
		v.bad(name, "holds another record, %s", r.ID)
		return nil
	}
	if v.records[r.ID] != nil {
		v.bad(name, "holds record %s a second time", r.ID)
		return nil
	}
	var err error
	if r.at, err = time.Parse(time.RFC3339Nano, r.At); err != nil {
		v.bad(name, "has no time")
	}
	v.records[r.ID] = r
	return r
}

// proofs checks that every record is a leaf under the signed checkpoint.
func (v *verification) proofs(verifier note.Verifier) {
	const at = sealDir + "checkpoint"
	v.seen[at], v.seen[sealDir+"proofs.json"] = true, true
	signed := v.files[at]
	c, _, n, err := flog.ParseCheckpoint(signed, verifier.Name(), verifier)
	if err != nil || len(c.Hash) != tlog.HashSize {
		v.bad(at, "is not signed by the key given")
		return
	}
	v.rep.Log, v.rep.TreeSize, v.rep.Signatures = c.Origin, int64(c.Size), len(n.UnverifiedSigs)
	if _, found, err := v.witnesses.Open(signed, verifier); err != nil {
		v.bad(at, "%v", err)
	} else {
		v.rep.Cosigned, v.rep.Unknown = append(v.rep.Cosigned, found.Cosigned...), append(v.rep.Unknown, found.Unknown...)
	}
	for _, name := range v.rep.Unknown {
		v.note("the checkpoint bears a signature of %q by a key that was not given: it says nothing", name)
	}
	var proofs []Proof
	if !v.file(sealDir+"proofs.json", &proofs) {
		return
	}
	places := map[int64]string{}
	for _, p := range proofs {
		r := v.records[p.Record]
		if r == nil {
			v.bad(sealDir+"proofs.json", "proves a record %s that is not there", p.Record)
			continue
		}
		if other, taken := places[p.N]; taken {
			v.bad(r.place, "stands in the same leaf %d as record %s", p.N, other)
		}
		places[p.N] = p.Record
		path := make(tlog.RecordProof, len(p.Path))
		for i, s := range p.Path {
			h, err := base64.StdEncoding.DecodeString(s)
			if err != nil || len(h) != tlog.HashSize || base64.StdEncoding.EncodeToString(h) != s {
				v.bad(sealDir+"proofs.json", "the path of record %s is malformed", p.Record)
				path = nil
				break
			}
			path[i] = tlog.Hash(h)
		}
		if err := tlog.CheckRecord(path, int64(c.Size), tlog.Hash(c.Hash), p.N, tlog.RecordHash(r.body)); err != nil {
			v.bad(r.place, "record %s is not in the log at leaf %d", p.Record, p.N)
			continue
		}
		r.proven, r.n = true, p.N
	}
	for _, id := range slices.Sorted(maps.Keys(v.records)) {
		if r := v.records[id]; !r.proven {
			v.bad(r.place, "record %s is not proven to the checkpoint", id)
		}
	}
}

// personal checks that every personal value of every record is accounted for.
func (v *verification) personal() {
	const at = "personal.json"
	var ps []Personal
	if !v.file(at, &ps) {
		return
	}
	done := map[[2]string]bool{}
	for _, p := range ps {
		r := v.records[p.Record]
		if r == nil || r.Personal[p.Field] == "" || done[[2]string{p.Record, p.Field}] {
			v.bad(at, "record %s has no personal value %q, or it is here twice", p.Record, p.Field)
			continue
		}
		done[[2]string{p.Record, p.Field}] = true
		switch p.State {
		case Disclosed:
			if Hash(append(slices.Clone(p.Salt), p.Field+"\x00"+p.Value...)) != r.Personal[p.Field] || len(p.Salt) < 16 {
				v.bad(at, "the text of %s is not the one that record %s speaks of", p.Field, p.Record)
			}
			if !v.m.Disclose {
				v.bad(at, "discloses %s of record %s, the manifest says that nothing is", p.Field, p.Record)
			}
		case Withheld, Erased:
			if p.Value != "" || len(p.Salt) > 0 {
				v.bad(at, "%s of record %s is said to be %s, and is here", p.Field, p.Record, p.State)
			}
		default:
			v.bad(at, "%s of record %s is in the state %q", p.Field, p.Record, p.State)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.records)) {
		for _, f := range slices.Sorted(maps.Keys(v.records[id].Personal)) {
			if !done[[2]string{id, f}] && v.records[id].place != sealDir+"record.json" {
				v.bad(at, "does not say what became of %s of record %s", f, id)
			}
		}
	}
	erased := 0
	for _, p := range ps {
		if p.State == Erased {
			erased++
		}
	}
	if erased > 0 {
		v.note("%d personal values were erased; their digests stand in the records and the proofs hold", erased)
	}
}

// alerts checks that whoever took an alert did so in the log.
func (v *verification) alerts() {
	const at = "alerts.json"
	var as []Alert
	if !v.file(at, &as) {
		return
	}
	for _, a := range as {
		if a.AckedBy == "" {
			continue
		}
		found := false
		for _, r := range v.records {
			found = found || r.Action == "alert.ack" && r.Res == "alert/"+a.ID && r.Actor.ID == a.AckedBy && near(r.at, a.AckedAt, slack)
		}
		if !found {
			v.bad(at, "alert %s was taken by %q, and no record says so", a.ID, a.AckedBy)
		}
	}
}

// rest finds what does not belong into a pack.
func (v *verification) rest() {
	for _, f := range v.m.Files {
		if !v.seen[f.Name] {
			v.bad(f.Name, "does not belong to the subject of this pack")
		}
	}
	subject := v.m.Subject
	for _, id := range slices.Sorted(maps.Keys(v.records)) {
		r := v.records[id]
		if r.place == sealDir+"record.json" {
			continue
		}
		if r.Tenant != subject.Tenant && r.Tenant != "" {
			v.bad(r.place, "record %s is of another tenant", id)
		}
	}
	for _, w := range v.m.Withheld {
		v.note("left out: %s", w)
	}
}

// slack is how far two readings of the clock about one thing may lie apart: within a
// commit, or on two servers.
const slack = time.Minute

// before tells whether a was written before b: by more than servers' clocks may differ,
// or by less when the order of the log says so too.
func before(a, b *record) bool {
	return a.at.Before(b.at.Add(-slack)) || a.at.Before(b.at) && a.n < b.n
}

func near(a, b time.Time, d time.Duration) bool {
	return !a.Before(b.Add(-d)) && !a.After(b.Add(d))
}
