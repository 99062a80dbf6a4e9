package offline

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

// TenantOf is the tenant that an entry binds: the text of the member "tenant" of its
// JSON object, empty when there is none. Every entry belongs to one tenant, those of
// the platform itself to the empty one.
func TenantOf(body []byte) string {
	s := scanner{b: body}
	if !s.eat('{') {
		return ""
	}
	for {
		key, ok := s.text()
		if !ok || !s.eat(':') {
			return ""
		}
		if string(key) == `"tenant"` {
			v, ok := s.text()
			if !ok {
				return ""
			}
			if bytes.IndexByte(v, '\\') < 0 {
				return string(v[1 : len(v)-1])
			}
			var out string
			if json.Unmarshal(v, &out) != nil {
				return ""
			}
			return out
		}
		if !s.skip() || !s.eat(',') {
			return ""
		}
	}
}

// scanner walks over JSON that is known to be well formed; it ends early on any other.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

func (s *scanner) eat(c byte) bool {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	s.space()
	return true
}

// text takes a string with its quotes.
func (s *scanner) text() ([]byte, bool) {
	from := s.i
	if from >= len(s.b) || s.b[from] != '"' {
		return nil, false
	}
	for at := from + 1; ; {
		n := bytes.IndexByte(s.b[at:], '"')
		if n < 0 {
			return nil, false
		}
		at += n + 1
		back := 0
		for k := at - 2; k > from && s.b[k] == '\\'; k-- {
			back++
		}
		if back%2 == 0 {
			s.i = at
			return s.b[from:at], true
		}
	}
}

// skip passes one value.
func (s *scanner) skip() bool {
	for depth := 0; s.i < len(s.b); {
		switch s.b[s.i] {
		case '"':
			if _, ok := s.text(); !ok {
				return false
			}
			if depth == 0 {
				return true
			}
		case '{', '[':
			depth++
			s.i++
		case '}', ']':
			if depth == 0 {
				return true
			}
			s.i++
			if depth--; depth == 0 {
				return true
			}
		case ',':
			if depth == 0 {
				return true
			}
			s.i++
		default:
			s.i++
		}
	}
	return false
}

// TenantHead is how far a tenant's own sequence has come. Chain binds all its records
// in their order: to each its place in the tree and its leaf.
type TenantHead struct {
	Tenant string    `json:"tenant"`
	Seq    int64     `json:"seq"`   // how many records
	N      int64     `json:"n"`     // the leaf of the last one
	Chain  tlog.Hash `json:"chain"` // base64
}

// Add makes leaf n the tenant's next record.
func (h *TenantHead) Add(n int64, leaf tlog.Hash) {
	var b [1 + 8 + 2*tlog.HashSize]byte
	b[0] = 2
	copy(b[1:], h.Chain[:])
	binary.BigEndian.PutUint64(b[1+tlog.HashSize:], uint64(n))
	copy(b[1+tlog.HashSize+8:], leaf[:])
	h.Seq, h.N, h.Chain = h.Seq+1, n, sha256.Sum256(b[:])
}

func (h TenantHead) hash() tlog.Hash {
	key := TenantKey(h.Tenant)
	b := append([]byte{3}, key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Seq))
	b = binary.BigEndian.AppendUint64(b, uint64(h.N))
	return sha256.Sum256(append(b, h.Chain[:]...))
}

// TenantKey is a tenant's place in the map of heads.
func TenantKey(tenant string) tlog.Hash { return sha256.Sum256([]byte(tenant)) }

// mapDepth is how many levels of the map stand above its buckets, which hold the
// tenants whose keys begin with the same bits.
const mapDepth = 16

// TenantMap is every tenant's head in one hash, which a checkpoint signs. A tenant has
// one place in it, so it cannot have two heads there.
type TenantMap struct {
	nodes   []tlog.Hash // a binary heap: nodes[1] is the root
	buckets map[uint32][]slot
	count   int64
}

type slot struct{ key, head tlog.Hash }

// NewTenantMap makes a map of heads.
func NewTenantMap(heads ...TenantHead) *TenantMap {
	m := &TenantMap{nodes: make([]tlog.Hash, 2<<mapDepth), buckets: map[uint32][]slot{}}
	m.Set(heads...)
	return m
}

// Set puts heads in their places.
func (m *TenantMap) Set(heads ...TenantHead) {
	changed := map[uint32]bool{}
	for _, h := range heads {
		s := slot{TenantKey(h.Tenant), h.hash()}
		at := bucketOf(s.key)
		slots := m.buckets[at]
		i, found := slices.BinarySearchFunc(slots, s, func(a, b slot) int { return bytes.Compare(a.key[:], b.key[:]) })
		if found {
			slots[i] = s
		} else {
			slots = slices.Insert(slots, i, s)
			m.count++
		}
		m.buckets[at] = slots
		changed[at] = true
	}
	for level := mapDepth; level >= 0; level-- {
		up := map[uint32]bool{}
		for at := range changed {
			i := 1<<level + at
			if level == mapDepth {
				m.nodes[i] = bucketHash(m.buckets[at])
			} else {
				m.nodes[i] = mapNode(&m.nodes[2*i], &m.nodes[2*i+1])
			}
			up[at/2] = true
		}
		changed = up
	}
}

// Root is the hash over all heads.
func (m *TenantMap) Root() tlog.Hash { return m.nodes[1] }

const extensionPrefix = "reeve-tenants "

// Extension is the line that a checkpoint carries.
func (m *TenantMap) Extension() string {
	root := m.Root()
	return fmt.Sprintf("%s%d %s", extensionPrefix, m.count, base64.StdEncoding.EncodeToString(root[:]))
}

func bucketOf(key tlog.Hash) uint32 { return uint32(binary.BigEndian.Uint16(key[:2])) }

func bucketHash(slots []slot) tlog.Hash {
	if len(slots) == 0 {
		return tlog.Hash{}
	}
	b := []byte{0}
	for _, s := range slots {
		b = append(append(b, s.key[:]...), s.head[:]...)
	}
	return sha256.Sum256(b)
}

// mapNode keeps an empty half empty, so that a proof through empty halves is short.
func mapNode(left, right *tlog.Hash) tlog.Hash {
	if *left == (tlog.Hash{}) && *right == (tlog.Hash{}) {
		return tlog.Hash{}
	}
	return nodeHash(left, right)
}

// TenantState is a signed head with the proof of what it says of one tenant.
type TenantState struct {
	Checkpoint string      `json:"checkpoint"`
	Head       *TenantHead `json:"head,omitempty"`   // none: no record of the tenant yet
	Bucket     [][2]string `json:"bucket,omitempty"` // the other tenants of its bucket: key and head
	Path       []string    `json:"path"`             // from the bucket up; empty for an empty half
}

// State proves what the map, which checkpoint signs, says of a tenant.
func (m *TenantMap) State(checkpoint string, tenant string, head *TenantHead) TenantState {
	key := TenantKey(tenant)
	st := TenantState{Checkpoint: checkpoint, Head: head, Path: make([]string, 0, mapDepth)}
	for _, s := range m.buckets[bucketOf(key)] {
		if s.key != key {
			st.Bucket = append(st.Bucket, [2]string{s.key.String(), s.head.String()})
		}
	}
	for i := 1<<mapDepth + bucketOf(key); i > 1; i /= 2 {
		text := ""
		if h := m.nodes[i^1]; h != (tlog.Hash{}) {
			text = h.String()
		}
		st.Path = append(st.Path, text)
	}
	return st
}

// check verifies the state against one of the log's keys.
func (st TenantState) check(keys []string, tenant string) (Head, TenantHead, error) {
	head, err := parseAny([]byte(st.Checkpoint), keys, cosign.Policy{})
	if err != nil {
		return Head{}, TenantHead{}, fmt.Errorf("the checkpoint: %w", err)
	}
	said := ""
	for _, line := range head.Extension {
		if rest, ok := strings.CutPrefix(line, extensionPrefix); ok {
			_, said, _ = strings.Cut(rest, " ")
		}
	}
	if said == "" {
		return Head{}, TenantHead{}, fmt.Errorf("the checkpoint of %d says nothing of tenants", head.Size)
	}
	out := TenantHead{Tenant: tenant, N: -1}
	key := TenantKey(tenant)
	var slots []slot
	for _, pair := range st.Bucket {
		k, err1 := tlog.ParseHash(pair[0])
		h, err2 := tlog.ParseHash(pair[1])
		if err1 != nil || err2 != nil || k == key {
			return Head{}, TenantHead{}, errors.New("the bucket is malformed")
		}
		slots = append(slots, slot{k, h})
	}
	if st.Head != nil {
		if st.Head.Tenant != tenant || st.Head.Seq < 1 {
			return Head{}, TenantHead{}, errors.New("the head is of another tenant")
		}
		out = *st.Head
		slots = append(slots, slot{key, out.hash()})
	}
	slices.SortFunc(slots, func(a, b slot) int { return bytes.Compare(a.key[:], b.key[:]) })
	for i, s := range slots {
		if bucketOf(s.key) != bucketOf(key) || i > 0 && slots[i-1].key == s.key {
			return Head{}, TenantHead{}, errors.New("the bucket is malformed")
		}
	}
	if len(st.Path) != mapDepth {
		return Head{}, TenantHead{}, errors.New("the path is malformed")
	}
	at, root := 1<<mapDepth+bucketOf(key), bucketHash(slots)
	for _, text := range st.Path {
		var side tlog.Hash
		if text != "" {
			if side, err = tlog.ParseHash(text); err != nil {
				return Head{}, TenantHead{}, errors.New("the path is malformed")
			}
		}
		if at%2 == 0 {
			root = mapNode(&root, &side)
		} else {
			root = mapNode(&side, &root)
		}
		at /= 2
	}
	if root.String() != said {
		return Head{}, TenantHead{}, fmt.Errorf("the checkpoint of %d signed something else about the tenant", head.Size)
	}
	return head, out, nil
}

// TenantProof shows that its records are all those of a tenant between two
// checkpoints; see [VerifyTenant].
type TenantProof struct {
	Tenant  string       `json:"tenant"`
	From    *TenantState `json:"from,omitempty"` // none: from the beginning
	To      TenantState  `json:"to"`
	Records []Proof      `json:"records"`        // each without a checkpoint: it is To's
	Keys    string       `json:"keys,omitempty"` // the content of [KeysFile], when the log had another key before
}

// VerifyTenant checks that the records of p are in the log and are all of its tenant
// after From and up to To. Every failure is ErrBadProof.
func VerifyTenant(vkey string, p TenantProof) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrBadProof, fmt.Errorf(format, args...))
	}
	keys, err := Follow(vkey, []byte(p.Keys))
	if err != nil {
		return bad("keys: %w", err)
	}
	have := TenantHead{Tenant: p.Tenant, N: -1}
	var from int64
	if p.From != nil {
		head, th, err := p.From.check(keys, p.Tenant)
		if err != nil {
			return bad("from: %w", err)
		}
		from, have = head.Size, th
	}
	to, want, err := p.To.check(keys, p.Tenant)
	if err != nil {
		return bad("to: %w", err)
	}
	if from > to.Size {
		return bad("from is of %d records, to of %d", from, to.Size)
	}
	if want.N >= to.Size || have.N >= from {
		return bad("a head is of a leaf that its checkpoint does not cover")
	}
	for i, r := range p.Records {
		switch err := r.in(to); {
		case err != nil:
			return bad("record %d: %w", have.Seq+1, err)
		case r.N < from || r.N <= have.N:
			return bad("record %d: leaf %d is not after the one before", i, r.N)
		case TenantOf([]byte(r.Body)) != p.Tenant:
			return bad("record %d: leaf %d is of another tenant", i, r.N)
		}
		have.Add(r.N, tlog.RecordHash([]byte(r.Body)))
	}
	if have != want {
		return bad("there are %d records where the log signed %d, or not the same", have.Seq, want.Seq)
	}
	return nil
}

func parseAny(checkpoint []byte, keys []string, witnesses cosign.Policy) (Head, error) {
	var errs []error
	for _, key := range keys {
		head, err := ParseWitnessed(checkpoint, key, witnesses)
		if err == nil {
			return head, nil
		}
		errs = append(errs, err)
	}
	return Head{}, errs[len(errs)-1]
}
