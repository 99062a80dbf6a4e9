package governance

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

// Open is the short way in for a host with a database of its own: it attaches the
// handle, brings the kernel's tables up to date and makes the Kernel. A host that
// runs migrations its own way calls govdb.Attach and [New] instead.
func Open(ctx context.Context, db *bun.DB, opts *Options) (*Kernel, error) {
	d, err := govdb.Attach(ctx, db, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := govdb.Migrate(ctx, d, Schemas()...); err != nil {
		return nil, fmt.Errorf("governance: %w", err)
	}
	return New(d, opts)
}
