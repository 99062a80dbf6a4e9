package offline

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

// Growth is the first line of an export of what a log grew by: everything after its
// first From records. Each line after it is one record, as a text in JSON.
type Growth struct {
	From int64 `json:"from"`
	// Peaks are the roots of the full subtrees of the first From records, largest first:
	// with them the root of both sizes is computed.
	Peaks      []string `json:"peaks"`
	Earlier    string   `json:"earlier,omitempty"` // the checkpoint of From, where one was signed
	Checkpoint string   `json:"checkpoint"`
	Keys       string   `json:"keys,omitempty"` // as in [KeysFile]
}

// GrowthReport is what [CheckGrowth] found.
type GrowthReport struct {
	From int64
	Head Head
	// Anchored says that a signed checkpoint of From was part of it: then the records are
	// all by which that tree grew.
	Anchored bool
}

// CheckGrowth reads an export of what a log grew by and checks it with nothing but the
// log's verification key. earlier are checkpoints kept from before; those of other
// sizes than the export begins at are an error, since it cannot say anything of them.
// Every failure of the contents is ErrBadProof.
func CheckGrowth(r io.Reader, vkey string, earlier []string, witnesses cosign.Policy) (GrowthReport, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var rep GrowthReport
	if _, err := witnesses.Verifiers(); err != nil {
		return rep, fmt.Errorf("offline: %w", err)
	}
	bad := func(format string, args ...any) (GrowthReport, error) {
		return rep, fmt.Errorf("%w: "+format, append([]any{ErrBadProof}, args...)...)
	}
	line, err := readLine(in)
	if err != nil {
		return bad("the first line: %w", err)
	}
	var g Growth
	if err := json.Unmarshal(line, &g); err != nil {
		return bad("the first line is no description of an export")
	}
	if again, err := json.Marshal(g); err != nil || string(again) != string(line) {
		return bad("the first line is not as it was written")
	}
	keys, err := Follow(vkey, []byte(g.Keys))
	if err != nil {
		return bad("the keys: %w", err)
	}
	if rep.Head, err = parseAny([]byte(g.Checkpoint), keys, witnesses); err != nil {
		return bad("the checkpoint: %w", err)
	}
	rep.From = g.From
	if g.From < 0 || g.From > rep.Head.Size || len(g.Peaks) != bits.OnesCount64(uint64(g.From)) {
		return bad("%d subtrees cannot be those of %d of %d records", len(g.Peaks), g.From, rep.Head.Size)
	}
	tree := make([]tlog.Hash, 0, 64)
	for i, p := range g.Peaks {
		b, err := base64.StdEncoding.DecodeString(p)
		if err != nil || len(b) != tlog.HashSize || base64.StdEncoding.EncodeToString(b) != p {
			return bad("subtree %d is malformed", i+1)
		}
		tree = append(tree, tlog.Hash(b))
	}
	if g.Earlier != "" {
		earlier = append([]string{g.Earlier}, earlier...)
	}
	for _, c := range earlier {
		before, err := parseAny([]byte(c), keys, cosign.Policy{})
		if err != nil {
			return bad("the earlier checkpoint: %w", err)
		}
		if before.Size != g.From {
			return rep, fmt.Errorf("offline: the earlier checkpoint is of %d records, the export begins after %d", before.Size, g.From)
		}
		if before.Root != rootOf(tree) {
			return bad("the first %d records are not those that the earlier checkpoint signs", g.From)
		}
		rep.Anchored = true
	}
	for n := g.From; n < rep.Head.Size; n++ {
		line, err := readLine(in)
		if err != nil {
			return bad("record %d: %w", n, err)
		}
		var body string
		if err := json.Unmarshal(line, &body); err != nil {
			return bad("record %d is no text", n)
		}
		if again, err := EncodeEntry([]byte(body)); err != nil || string(again) != string(line)+"\n" {
			return bad("record %d is not as it was written", n)
		}
		h := tlog.RecordHash([]byte(body))
		for at := n; at&1 == 1; at >>= 1 { // the leaf closes a subtree for each one bit at the end
			h = nodeHash(&tree[len(tree)-1], &h)
			tree = tree[:len(tree)-1]
		}
		tree = append(tree, h)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return bad("something follows the last record")
	}
	if rootOf(tree) != rep.Head.Root {
		return bad("the records from %d on do not lead to the checkpoint's root", g.From)
	}
	return rep, nil
}

// EncodeEntry is the line of a record in an export of what a log grew by.
func EncodeEntry(body []byte) ([]byte, error) {
	line, err := json.Marshal(string(body))
	return append(line, '\n'), err
}

// maxLine is more than the longest record needs: each byte may be written as six.
const maxLine = 6*65535 + 1<<20

func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, errors.New("the file ends here")
		case len(line) > maxLine:
			return nil, errors.New("the line is too long")
		}
	}
}
