package recorder

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Chunks lists the parts of a session's recording, in order.
func (r *Recorder) Chunks(ctx context.Context, session uuid.UUID) ([]Chunk, error) {
	rows, err := r.chunks(ctx, session)
	if err != nil {
		return nil, err
	}
	out := make([]Chunk, len(rows))
	for i, row := range rows {
		out[i] = Chunk{row.Seq, row.SHA256, row.Prev, row.Bytes, row.Frames, row.Record, row.FirstAt.Time(), row.LastAt.Time()}
	}
	return out, nil
}

// ChunkData reads one chunk, byte for byte as its hash stands in the ledger.
// ErrNotFound: there is none any more; ErrTampered: there is another.
func (r *Recorder) ChunkData(ctx context.Context, session uuid.UUID, seq int64) ([]byte, error) {
	var rows []chunkRow
	if err := r.k.DB().Read().NewSelect().Model(&rows).Where("session = ? AND seq = ?", session, seq).Scan(ctx); err != nil {
		return nil, fmt.Errorf("chunk %d of session %s: %w", seq, session, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("chunk %d of session %s: %w", seq, session, governance.ErrNotFound)
	}
	data, err := r.blobs.Get(ctx, rows[0].Blob)
	if err != nil {
		return nil, err
	}
	if digest(data) != rows[0].SHA256 {
		return nil, fmt.Errorf("chunk %d of session %s: %w", seq, session, ErrTampered)
	}
	return data, nil
}
