package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gowebpki/jcs"
)

// Format names this form of a pack.
const Format = "reeve/evidence/v1"

// ActionBuild is the action of the ledger record that a pack was built.
const ActionBuild = "evidence.build"

// The kinds of subject.
const (
	KindSession = "session"
	KindAction  = "action"
)

// Subject is what a pack is about.
type Subject struct {
	Kind   string `json:"kind"` // session or action
	ID     string `json:"id"`
	Tenant string `json:"tenant,omitempty"`
	Name   string `json:"name"` // of the action
}

// Manifest says what a pack is and lists its files.
type Manifest struct {
	Format   string    `json:"format"`
	ID       string    `json:"id"`
	Subject  Subject   `json:"subject"`
	MadeAt   time.Time `json:"made_at"`
	MadeBy   string    `json:"made_by"`
	Reason   string    `json:"reason"` // why it was built
	Software string    `json:"software"`
	Key      string    `json:"key"`      // verification key of the log: name, key id, key
	Disclose bool      `json:"disclose"` // personal values are in it
	Withheld []string  `json:"withheld"` // what the builder may not see, so it is not here
	Content  string    `json:"content"`  // digest of this manifest without seal/ and without this line
	Files    []File    `json:"files"`    // in the order in which they stand
}

// File is one line of the manifest.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Hash is "sha256:" and the hexadecimal SHA-256.
func Hash(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func digest(domain string, b []byte) string { return Hash(append([]byte(domain+"\n"), b...)) }

// encode gives the RFC 8785 form of v.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return jcs.Transform(buf.Bytes())
}

const sealDir = "seal/"

// contentDigest covers the manifest and every file outside seal/.
func (m Manifest) contentDigest() (string, error) {
	m.Content = ""
	m.Files = slices.DeleteFunc(slices.Clone(m.Files), func(f File) bool { return strings.HasPrefix(f.Name, sealDir) })
	b, err := encode(m)
	if err != nil {
		return "", err
	}
	return digest("reeve/evidence/content/v1", b), nil
}

var (
	namePattern = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9._-]*(/[a-zA-Z0-9][a-zA-Z0-9._-]*)*$`)
	hashPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func readManifest(b []byte) (Manifest, error) {
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("does not parse: %w", err)
	}
	if m.Format != Format {
		return m, fmt.Errorf("has the format %q, want %q", m.Format, Format)
	}
	total := int64(0)
	for i, f := range m.Files {
		switch {
		case len(f.Name) > 200 || !namePattern.MatchString(f.Name) || f.Name == manifestName:
			return m, fmt.Errorf("lists a file that a pack does not have: %q", f.Name)
		case i > 0 && m.Files[i-1].Name >= f.Name:
			return m, fmt.Errorf("lists %s out of order", f.Name)
		case !hashPattern.MatchString(f.SHA256) || f.Size < 0 || f.Size > MaxSize:
			return m, fmt.Errorf("lists %s without a hash or a size", f.Name)
		}
		if total += f.Size; total > MaxSize || i >= maxEntries {
			return m, errors.New("lists more than a pack holds")
		}
	}
	again, err := encode(m)
	if err != nil {
		return m, fmt.Errorf("has no canonical form: %w", err)
	}
	if !bytes.Equal(again, b) {
		return m, errors.New("is not in its canonical form")
	}
	return m, nil
}

// Contents is what a builder gathered. Times are UTC.
type Contents struct {
	Manifest Manifest // Files and Content are filled in
	Actions  []Action
	Policies []Policy
	Session  *Session
	Chunks   []Chunk
	Browser  []Chunk // what the session's browser told; no proof of what was shown
	Alerts   []Alert
	Personal []Personal
	Records  []Record
}

// Action is one guarded action.
type Action struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Digest     string          `json:"digest"`
	State      string          `json:"state"`
	Held       bool            `json:"held"`
	Remote     bool            `json:"remote"`
	Requester  string          `json:"requester"`
	Person     string          `json:"person,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Ticket     string          `json:"ticket,omitempty"`
	Preview    json.RawMessage `json:"preview"`
	Result     json.RawMessage `json:"result"`
	Error      string          `json:"error,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	DecideBy   time.Time       `json:"decide_by,omitzero"`
	ExecuteBy  time.Time       `json:"execute_by,omitzero"`
	DecidedAt  time.Time       `json:"decided_at,omitzero"`
	ExecutedAt time.Time       `json:"executed_at,omitzero"`

	Payload    json.RawMessage `json:"-"` // canonical; what Digest is of
	Votes      []Vote          `json:"-"`
	Signatures []Signature     `json:"-"` // of the votes that are signed
}

// Vote is one person's word, with the groups they were in when they gave it.
type Vote struct {
	Record   string    `json:"record"` // the ledger record of the vote
	Person   string    `json:"person"`
	Actor    string    `json:"actor"`
	Decision string    `json:"decision"`
	Digest   string    `json:"digest"`
	Comment  string    `json:"comment"`
	Groups   []string  `json:"groups"`
	At       time.Time `json:"at"`
}

// Policy is one version of a policy; Body is canonical.
type Policy struct {
	ID      string
	Version int
	Body    json.RawMessage
}

// Session is an impersonation session.
type Session struct {
	ID        string    `json:"id"`
	Tenant    string    `json:"tenant"`
	User      string    `json:"user"`
	Actor     string    `json:"actor"`
	Person    string    `json:"person"`
	Subject   string    `json:"subject,omitempty"`
	Scope     string    `json:"scope"`
	Reason    string    `json:"reason"`
	Ticket    string    `json:"ticket,omitempty"`
	State     string    `json:"state"`
	Ended     string    `json:"ended,omitempty"`
	EndedBy   string    `json:"ended_by,omitempty"`
	Requests  int64     `json:"requests"`
	Blocked   int64     `json:"blocked"`
	Unseen    int64     `json:"unseen"` // requests let through that have no frame: the recorder failed, or the server stopped
	CreatedAt time.Time `json:"created_at"`
	OpenedAt  time.Time `json:"opened_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
}

// Request is one request of a session, read from its recording.
type Request struct {
	N      int       `json:"n"`
	Chunk  int64     `json:"chunk"`
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Status int       `json:"status"`
	SHA256 string    `json:"sha256,omitempty"` // of the response, before masking
}

// The states of a chunk in a pack.
const (
	ChunkIncluded = "included"
	ChunkMissing  = "missing"  // not in the store any more, or not readable
	ChunkWithheld = "withheld" // the builder may not see recordings
)

// Chunk is one part of a recording.
type Chunk struct {
	Seq    int64  `json:"seq"`
	Record string `json:"record"`
	State  string `json:"state"`
	Data   []byte `json:"-"`
}

// Alert is one alert with who was told and who took it.
type Alert struct {
	ID         string     `json:"id"`
	Key        string     `json:"key"`
	Severity   string     `json:"severity"`
	Title      string     `json:"title"`
	Body       string     `json:"body"`
	State      string     `json:"state"`
	Times      int64      `json:"times"`
	FirstAt    time.Time  `json:"first_at"`
	LastAt     time.Time  `json:"last_at"`
	AckedBy    string     `json:"acked_by,omitempty"`
	AckedAt    time.Time  `json:"acked_at,omitzero"`
	Deliveries []Delivery `json:"deliveries"`
}

// Delivery is one notifier's part in an alert.
type Delivery struct {
	Notifier string `json:"notifier"`
	State    string `json:"state"`
	Attempts int    `json:"attempts"`
}

// The states of a personal value in a pack.
const (
	Disclosed = "disclosed"
	Withheld  = "withheld" // kept, not in this pack
	Erased    = "erased"   // not kept any more: what is left is its digest in the record
)

// Personal is one personal value of a record.
type Personal struct {
	Record string `json:"record"`
	Field  string `json:"field"`
	State  string `json:"state"`
	Value  string `json:"value,omitempty"`
	Salt   []byte `json:"salt,omitempty"`
}

// Record is one ledger record; Body is its leaf.
type Record struct {
	ID   string
	Body []byte
}

// Draft is a pack without its seal.
type Draft struct {
	m       Manifest
	content []entry
}

// NewDraft lays out the files.
func NewDraft(c Contents) (*Draft, error) {
	d := &Draft{m: c.Manifest}
	d.m.Format, d.m.Content = Format, ""
	if d.m.Withheld == nil {
		d.m.Withheld = []string{}
	}
	put := func(name string, v any) error {
		b, raw := v.([]byte)
		if !raw {
			var err error
			if b, err = encode(v); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		d.content = append(d.content, entry{name, b})
		return nil
	}
	var errs []error
	for _, a := range c.Actions {
		at := "actions/" + a.ID + "/"
		errs = append(errs, put(at+"action.json", a), put(at+"payload.json", []byte(a.Payload)), put(at+"votes.json", orEmpty(a.Votes)))
		if len(a.Signatures) > 0 {
			errs = append(errs, put(signaturesName(a.ID), a.Signatures))
		}
	}
	for _, p := range c.Policies {
		errs = append(errs, put(policyName(p.ID, p.Version), []byte(p.Body)))
	}
	requests := []Request{}
	for _, ch := range c.Chunks {
		if ch.State != ChunkIncluded {
			continue
		}
		errs = append(errs, put(chunkName(ch.Seq), ch.Data))
		_, frames, err := readChunk(ch.Data)
		errs = append(errs, err)
		requests = appendRequests(requests, ch.Seq, frames)
	}
	if c.Session != nil {
		errs = append(errs, put("session/session.json", c.Session), put("session/requests.json", requests), put("recording/index.json", orEmpty(c.Chunks)))
	}
	for _, ch := range c.Browser {
		if ch.State == ChunkIncluded {
			errs = append(errs, put(browserName(ch.Seq), ch.Data))
		}
	}
	if c.Session != nil && len(c.Browser) > 0 {
		errs = append(errs, put(browserIndex, c.Browser))
	}
	for _, r := range c.Records {
		errs = append(errs, put(recordName(r.ID), r.Body))
	}
	errs = append(errs, put("alerts.json", orEmpty(c.Alerts)), put("personal.json", orEmpty(c.Personal)))
	page, err := cover(c, requests)
	errs = append(errs, err, put("cover.html", page))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("evidence pack: %w", err)
	}
	d.m.Files = list(d.content)
	d.m.Content, err = d.m.contentDigest()
	return d, err
}

// Content is the digest to put into the ledger.
func (d *Draft) Content() string { return d.m.Content }

// Files counts the files so far.
func (d *Draft) Files() int { return len(d.content) }

// Seal ties a draft to the log.
type Seal struct {
	Record     []byte  // body of the record that names [Draft.Content]
	Proofs     []Proof // of every record and of that one, by record id
	Checkpoint string  // signed note, with cosignatures when there are any
}

// Proof is a record's place in the log.
type Proof struct {
	Record string   `json:"record"`
	N      int64    `json:"n"`
	Path   []string `json:"path"` // RFC 6962 inclusion proof, base64
}

// Write writes the pack. The same draft and seal give the same bytes.
func (d *Draft) Write(w io.Writer, s Seal) error {
	proofs := slices.Clone(s.Proofs)
	slices.SortFunc(proofs, func(a, b Proof) int { return strings.Compare(a.Record, b.Record) })
	b, err := encode(proofs)
	if err != nil {
		return fmt.Errorf("evidence pack: %w", err)
	}
	return writePack(w, d.m, append(slices.Clone(d.content), entry{sealDir + "record.json", s.Record}, entry{sealDir + "proofs.json", b}, entry{sealDir + "checkpoint", []byte(s.Checkpoint)}))
}

func writePack(w io.Writer, m Manifest, es []entry) error {
	m.Files = list(es) // sorts es
	b, err := encode(m)
	if err != nil {
		return fmt.Errorf("evidence pack: %w", err)
	}
	if _, err := readManifest(b); err != nil {
		return fmt.Errorf("evidence pack: manifest %w", err)
	}
	if err := writeZip(w, append([]entry{{manifestName, b}}, es...)); err != nil {
		return fmt.Errorf("evidence pack: %w", err)
	}
	return nil
}

func list(es []entry) []File {
	slices.SortFunc(es, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	out := make([]File, len(es))
	for i, e := range es {
		out[i] = File{e.name, Hash(e.data), int64(len(e.data))}
	}
	return out
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func recordName(id string) string { return "records/" + id + ".json" }
func chunkName(seq int64) string  { return fmt.Sprintf("recording/%08d.ndjson", seq) }
func policyName(id string, version int) string {
	return fmt.Sprintf("policies/v%d-%s.json", version, id)
}
