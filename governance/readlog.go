package governance

import (
	"context"
	"sync"
	"time"
)

// ActionReadLog is the action of a record of somebody reading the log.
const ActionReadLog = "ledger.read"

// readers remembers who read what in the present hour.
type readers struct {
	mu   sync.Mutex
	hour time.Time
	seen map[string]bool
}

// LogRead writes down that id reads the log, once for each viewer, door and hour:
// reading the log must not make it grow without bound. what says which door in a few
// words of ours, such as "records" or "proof". Call it before anything is shown: an
// error means that the reading could not be written down, and what was read stays unshown.
//
// Several servers each write their own record; the bound is viewers × doors × hours ×
// servers.
func (k *Kernel) LogRead(ctx context.Context, id Identity, what string) error {
	if what == "" {
		return Invalid("what", "is required")
	}
	hour := k.Now().Truncate(time.Hour)
	viewer := id.Actor.ID + "\x00" + what
	if id.Subject != nil {
		viewer += "\x00" + id.Subject.ID
	}
	k.readers.mu.Lock()
	if !k.readers.hour.Equal(hour) {
		k.readers.hour, k.readers.seen = hour, map[string]bool{}
	}
	known := k.readers.seen[viewer]
	k.readers.mu.Unlock()
	if known {
		return nil
	}
	err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := k.RecordTx(ctx, tx, id, Record{Action: ActionReadLog, Outcome: OutcomeObserved, Resource: Ref{"ledger", what},
			Data: map[string]any{"hour": hour.Format(time.RFC3339)}})
		return err
	})
	if err != nil {
		return err
	}
	k.readers.mu.Lock()
	defer k.readers.mu.Unlock()
	if k.readers.hour.Equal(hour) { // two at once may both have written: one record too many, never one too few
		k.readers.seen[viewer] = true
	}
	return nil
}
