package offline

import (
	"errors"
	"fmt"
	"strings"

	flog "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

// Head is a checkpoint whose signature was checked.
type Head struct {
	Origin    string
	Size      int64
	Root      tlog.Hash
	Extension []string // lines after the root
	Cosigned  []Cosignature
	Unchecked []string // names of signatures that no given key checks
}

// Cosignature is a witness's word that it saw a head.
type Cosignature = cosign.Signature

// ParseHead checks a signed checkpoint against the log's key, and its cosignatures
// against the keys of witnesses, which are cosignature/v1 of Ed25519.
func ParseHead(checkpoint []byte, vkey string, witnesses ...string) (Head, error) {
	return ParseWitnessed(checkpoint, vkey, cosign.Policy{Witnesses: witnesses})
}

// ParseWitnessed is ParseHead of a checkpoint that so many witnesses must have signed.
func ParseWitnessed(checkpoint []byte, vkey string, p cosign.Policy) (Head, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return Head{}, errors.New("the verification key does not parse")
	}
	n, found, err := p.Open(checkpoint, verifier)
	if err != nil {
		return Head{}, err
	}
	var c flog.Checkpoint
	rest, err := c.Unmarshal([]byte(n.Text))
	if err != nil || len(c.Hash) != tlog.HashSize || c.Size > 1<<55 {
		return Head{}, errors.New("the checkpoint is malformed")
	}
	if c.Origin != verifier.Name() {
		return Head{}, fmt.Errorf("the checkpoint is of %q, the key of %q", c.Origin, verifier.Name())
	}
	h := Head{Origin: c.Origin, Size: int64(c.Size), Root: tlog.Hash(c.Hash), Cosigned: found.Cosigned, Unchecked: found.Unknown}
	if len(rest) > 0 {
		h.Extension = strings.Split(strings.TrimSuffix(string(rest), "\n"), "\n")
	}
	return h, nil
}

// NewCosignatureVerifier reads the key of a witness: algorithm 4, cosignature/v1.
func NewCosignatureVerifier(vkey string) (note.Verifier, error) { return cosign.NewVerifier(vkey) }
