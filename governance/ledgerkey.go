package governance

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/reevehq/reeve/governance/ledger"
)

// SucceedLedger hands the ledger over to another signing key and records it; see
// ledger.Log.Succeed. Nothing of this kernel is signed any more: make another one with
// the new key.
func (k *Kernel) SucceedLedger(ctx context.Context, skey string, lost []byte) (ledger.Succession, error) {
	s, err := k.log.Succeed(ctx, skey, lost, func(ctx context.Context, tx *Tx, s ledger.Succession) error {
		data := map[string]any{"from": s.From, "to": s.To, "size": s.Size, "root": s.Root.String()}
		if s.Lost != "" {
			data["lost"] = base64.StdEncoding.EncodeToString([]byte(s.Lost))
		}
		id := System("ledger")
		_, err := k.RecordTx(ctx, tx, id, Record{Action: "ledger.succeeded", Resource: Ref{"ledger", k.log.Origin()}, Data: data})
		return err
	})
	if err != nil {
		return s, fmt.Errorf("succeed the ledger: %w", err)
	}
	return s, nil
}
