package recorder

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/oversight"
)

// Digest is the hash of a chunk, for tests that doctor one well.
func Digest(b []byte) string { return digest(b) }

// ChunkRecord is what the ledger says of a chunk.
type ChunkRecord struct {
	Seq, Bytes   int64
	SHA256, Prev string
}

// ChunkRecords lists a session's, oldest first.
func (r *Recorder) ChunkRecords(ctx context.Context, t *testing.T, s oversight.Session) []ChunkRecord {
	t.Helper()
	records, err := r.records(ctx, s)
	require.NoError(t, err)
	var out []ChunkRecord
	for _, rec := range records {
		var body struct {
			Action string
			Data   ChunkRecord
		}
		require.NoError(t, json.Unmarshal(rec.Body, &body))
		if body.Action == ActionChunk {
			out = append(out, body.Data)
		}
	}
	return out
}
