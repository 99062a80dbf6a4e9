package offline

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

// KeysFile holds the statements by which a log went from one key to the next.
const KeysFile = "keys"

const successionHeader = "reeve-key/v1"

// Succession says that a log goes on under another key, from a head on. When the new
// key has another name it is a new log that begins with the old one's records: after a
// restore, where a head of the old log was signed that is no longer here.
type Succession struct {
	From, To string // verification keys
	Size     int64  // of the head that both keys stand for
	Root     tlog.Hash
	Lost     string // the signed head of the old log that the new one does not have
}

// Text is what is signed, by both keys.
func (s Succession) Text() string {
	return fmt.Sprintf("%s\n%s\n%s\n%d\n%s\n%s\n", successionHeader, s.From, s.To, s.Size, s.Root, base64.StdEncoding.EncodeToString([]byte(s.Lost)))
}

// ParseSuccession checks a statement: it is signed by the key it goes from and by the
// key it goes to.
func ParseSuccession(statement []byte) (Succession, error) {
	head, _, _ := strings.Cut(string(statement), "\n\n")
	lines := strings.Split(head, "\n")
	if len(lines) != 5 && len(lines) != 6 || lines[0] != successionHeader { // the last line is empty when nothing is lost
		return Succession{}, errors.New("it is no statement of a succession")
	}
	lines = append(lines, "")
	size, err := strconv.ParseInt(lines[3], 10, 64)
	root, rerr := tlog.ParseHash(lines[4])
	lost, lerr := base64.StdEncoding.DecodeString(lines[5])
	from, ferr := note.NewVerifier(lines[1])
	to, terr := note.NewVerifier(lines[2])
	if err := errors.Join(err, rerr, lerr, ferr, terr); err != nil || size < 0 {
		return Succession{}, errors.New("the statement is malformed")
	}
	s := Succession{From: lines[1], To: lines[2], Size: size, Root: root, Lost: string(lost)}
	n, err := cosign.OpenNote(statement, from, to)
	if err != nil {
		return Succession{}, err
	}
	if len(n.Sigs) != 2 || len(n.UnverifiedSigs) != 0 || n.Text != s.Text() {
		return Succession{}, errors.New("it is not signed by both keys")
	}
	return s, nil
}

// Follow gives the keys that a log has had from vkey on, as the statements in its keys
// file hand them over; the last one is that of today.
func Follow(vkey string, keysFile []byte) ([]string, error) {
	keys := []string{vkey}
	found := len(keysFile) == 0
	for i, text := range splitStatements(keysFile) {
		s, err := ParseSuccession([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		found = found || s.To == vkey
		if s.From == keys[len(keys)-1] {
			keys, found = append(keys, s.To), true
		}
	}
	if !found {
		return nil, errors.New("no statement is about this key")
	}
	return keys, nil
}

func splitStatements(keysFile []byte) []string {
	var out []string
	for _, part := range strings.Split(string(keysFile), successionHeader+"\n") {
		if part != "" {
			out = append(out, successionHeader+"\n"+part)
		}
	}
	return out
}
