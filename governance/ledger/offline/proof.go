package offline

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrBadProof says that a proof does not hold.
var ErrBadProof = errors.New("ledger: the proof does not hold")

// Proof shows offline that a record is in the log: see [VerifyProof].
type Proof struct {
	Body       string   `json:"body"` // the leaf, byte for byte
	N          int64    `json:"n"`
	Path       []string `json:"path"` // RFC 6962 inclusion proof, base64
	Checkpoint string   `json:"checkpoint"`
}

// VerifyProof checks a proof with nothing but the log's verification key. Every
// failure is ErrBadProof.
func VerifyProof(vkey string, p Proof) error {
	head, err := ParseHead([]byte(p.Checkpoint), vkey)
	if err != nil {
		return fmt.Errorf("%w: the checkpoint: %w", ErrBadProof, err)
	}
	return p.in(head)
}

func (p Proof) in(head Head) error {
	path := make(tlog.RecordProof, len(p.Path))
	for i, s := range p.Path {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(b) != tlog.HashSize || base64.StdEncoding.EncodeToString(b) != s {
			return fmt.Errorf("%w: the path is malformed", ErrBadProof)
		}
		path[i] = tlog.Hash(b)
	}
	if p.N < 0 || p.N >= head.Size || tlog.CheckRecord(path, head.Size, head.Root, p.N, tlog.RecordHash([]byte(p.Body))) != nil {
		return fmt.Errorf("%w: the path does not lead to the checkpoint's root", ErrBadProof)
	}
	return nil
}

const proofHeader = "c2sp.org/tlog-proof@v1\n"

// Text is the proof without its body, in the form of C2SP tlog-proof.
func (p Proof) Text() string {
	var b strings.Builder
	b.WriteString(proofHeader + "index " + strconv.FormatInt(p.N, 10) + "\n")
	for _, h := range p.Path {
		b.WriteString(h + "\n")
	}
	b.WriteString("\n" + p.Checkpoint)
	return b.String()
}

// ParseProof reads a proof in the form of C2SP tlog-proof; body is the record it is
// about.
func ParseProof(text string, body []byte) (Proof, error) {
	p := Proof{Body: string(body)}
	rest, ok := strings.CutPrefix(text, proofHeader)
	if !ok {
		return p, fmt.Errorf("%w: it does not begin with %q", ErrBadProof, strings.TrimSpace(proofHeader))
	}
	head, checkpoint, ok := strings.Cut(rest, "\n\n")
	if !ok {
		return p, fmt.Errorf("%w: it has no checkpoint", ErrBadProof)
	}
	p.Checkpoint = checkpoint
	lines := strings.Split(head, "\n")
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 {
		return p, fmt.Errorf("%w: it has no index", ErrBadProof)
	}
	number, ok := strings.CutPrefix(lines[0], "index ")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || strconv.FormatInt(n, 10) != number {
		return p, fmt.Errorf("%w: it has no index", ErrBadProof)
	}
	p.N, p.Path = n, lines[1:]
	return p, nil
}
