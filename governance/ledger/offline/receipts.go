package offline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

// ReceiptsHeader is the first line of a batch of receipts: no checkpoint begins like this.
const ReceiptsHeader = "reeve-receipts/v1"

// ReceiptLine says that a record was committed: within seconds it has a leaf.
type ReceiptLine struct {
	ID     string
	Digest [32]byte // SHA-256 of the record's body
	At     time.Time
}

// ReceiptBatch is what one server published in one go of the receipts it gave out. They
// are numbered from 1 in each run of a server, which is a stream: what is missing shows.
type ReceiptBatch struct {
	Origin   string
	Stream   string
	First    int64     // number of the first receipt
	At       time.Time // when it was signed
	End      bool      // the stream was closed: nothing follows
	Receipts []ReceiptLine
}

// Text is what is signed.
func (b ReceiptBatch) Text() string {
	var s strings.Builder
	end := ""
	if b.End {
		end = " end"
	}
	fmt.Fprintf(&s, "%s\n%s\n%s %d %d%s\n", ReceiptsHeader, b.Origin, b.Stream, b.First, b.At.UnixMicro(), end)
	for _, r := range b.Receipts {
		fmt.Fprintf(&s, "%s %x %d\n", r.ID, r.Digest, r.At.UnixMicro())
	}
	return s.String()
}

// ParseReceipts checks a signed batch against the log's keys.
func ParseReceipts(signed []byte, verifiers ...string) (ReceiptBatch, error) {
	var known []note.Verifier
	for _, vkey := range verifiers {
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return ReceiptBatch{}, errors.New("the verification key does not parse")
		}
		known = append(known, v)
	}
	n, err := cosign.OpenNote(signed, known...)
	if err != nil {
		return ReceiptBatch{}, err
	}
	bad := errors.New("it is no batch of receipts")
	lines := strings.Split(strings.TrimSuffix(n.Text, "\n"), "\n")
	if len(lines) < 3 || lines[0] != ReceiptsHeader {
		return ReceiptBatch{}, bad
	}
	head := strings.Split(lines[2], " ")
	if len(head) != 3 && len(head) != 4 {
		return ReceiptBatch{}, bad
	}
	first, ferr := strconv.ParseInt(head[1], 10, 64)
	at, aerr := strconv.ParseInt(head[2], 10, 64)
	b := ReceiptBatch{Origin: lines[1], Stream: head[0], First: first, At: time.UnixMicro(at).UTC(), End: len(head) == 4}
	if ferr != nil || aerr != nil || first < 1 {
		return ReceiptBatch{}, bad
	}
	for _, line := range lines[3:] {
		f := strings.Split(line, " ")
		if len(f) != 3 {
			return ReceiptBatch{}, bad
		}
		digest, derr := hex.DecodeString(f[1])
		at, aerr := strconv.ParseInt(f[2], 10, 64)
		if derr != nil || aerr != nil || len(digest) != sha256.Size {
			return ReceiptBatch{}, bad
		}
		b.Receipts = append(b.Receipts, ReceiptLine{f[0], [32]byte(digest), time.UnixMicro(at).UTC()})
	}
	if n.Text != b.Text() {
		return ReceiptBatch{}, bad
	}
	for _, v := range known {
		if v.Name() == b.Origin {
			return b, nil
		}
	}
	return ReceiptBatch{}, fmt.Errorf("it is of the log %q", b.Origin)
}

// SplitReceipts cuts a file of batches, each followed by an empty line.
func SplitReceipts(file []byte) []string {
	parts := strings.Split("\n"+string(file), "\n"+ReceiptsHeader+"\n")
	var out []string
	if strings.TrimSpace(parts[0]) != "" {
		out = append(out, parts[0]) // what no batch begins with is no batch
	}
	for _, p := range parts[1:] {
		out = append(out, ReceiptsHeader+"\n"+strings.TrimRight(p, "\n")+"\n")
	}
	return out
}

// ReceiptsReport is what CheckReceipts found.
type ReceiptsReport struct {
	Log      Report
	Receipts int
	Waiting  []ReceiptLine // without a leaf, and as new as the log's newest record: a later export decides
	Unclosed []string      // streams without an end: a server that still runs, or one that was killed
	Problems []string      // a receipt without a leaf, a gap between receipts, a batch that is not the log's
}

// grace is how long a record may take to its leaf.
const grace = 5 * time.Second

type receiptsChecker struct {
	rep     ReceiptsReport
	streams map[string][]ReceiptBatch
	wanted  map[[32]byte]bool // seen
	last    []byte
}

func (c *receiptsChecker) problem(format string, args ...any) {
	if len(c.rep.Problems) < maxProblems {
		c.rep.Problems = append(c.rep.Problems, fmt.Sprintf(format, args...))
	}
}

// CheckReceipts checks a whole log as [Check] does, and that every receipt in files has
// its leaf there. A record that was removed before it was sealed is found by this alone.
func CheckReceipts(ctx context.Context, src Source, vkey string, files [][]byte, opts *Options) (ReceiptsReport, error) {
	c := &receiptsChecker{streams: map[string][]ReceiptBatch{}, wanted: map[[32]byte]bool{}}
	keys := []string{vkey}
	if b, err := src.Read(ctx, KeysFile); err == nil {
		if all, err := Follow(vkey, b); err == nil {
			keys = all
		}
	}
	for i, file := range files {
		for j, text := range SplitReceipts(file) {
			b, err := ParseReceipts([]byte(text), keys...)
			if err != nil {
				c.problem("receipts %d, batch %d: %v", i+1, j+1, err)
				continue
			}
			c.streams[b.Stream] = append(c.streams[b.Stream], b)
			for _, r := range b.Receipts {
				c.wanted[r.Digest] = false
			}
		}
	}
	o := Options{}
	if opts != nil {
		o = *opts
	}
	entry := o.Entry
	o.Entry = func(n int64, body []byte) {
		sum := sha256.Sum256(body)
		if _, ok := c.wanted[sum]; ok {
			c.wanted[sum] = true
		}
		c.last = append(c.last[:0], body...)
		if entry != nil {
			entry(n, body)
		}
	}
	var err error
	if c.rep.Log, err = Check(ctx, src, vkey, &o); err != nil {
		return c.rep, err
	}
	c.rep.Problems = append(c.rep.Problems, c.rep.Log.Problems...)
	c.follow()
	return c.rep, nil
}

// follow looks at each stream from its beginning.
func (c *receiptsChecker) follow() {
	var newest struct {
		At time.Time `json:"at"`
	}
	_ = json.Unmarshal(c.last, &newest) // without a time nothing counts as too new
	told := map[[32]byte]bool{}
	for _, stream := range slices.Sorted(maps.Keys(c.streams)) {
		batches := c.streams[stream]
		slices.SortStableFunc(batches, func(a, b ReceiptBatch) int { return cmp.Compare(a.First, b.First) })
		next, ended := int64(1), false
		for _, b := range batches {
			if b.First > next {
				c.problem("receipts %d to %d of the stream %s were not published", next, b.First-1, stream)
			}
			next, ended = max(next, b.First+int64(len(b.Receipts))), ended || b.End
			for _, r := range b.Receipts {
				if told[r.Digest] { // a sink may be told twice
					continue
				}
				told[r.Digest] = true
				c.rep.Receipts++
				switch {
				case c.wanted[r.Digest]:
				case newest.At.IsZero() || b.At.Add(grace).Before(newest.At):
					c.problem("record %s of %s has a receipt and no leaf", r.ID, r.At.Format(time.RFC3339Nano))
				default:
					c.rep.Waiting = append(c.rep.Waiting, r)
				}
			}
		}
		if !ended {
			c.rep.Unclosed = append(c.rep.Unclosed, stream)
		}
	}
}
