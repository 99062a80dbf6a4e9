package integrations

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/integrations/webhook"
)

type sealedSecret struct {
	Blob  string       `json:"blob"`
	Until govdb.Micros `json:"until,omitempty"` // 0: as long as the target
}

func secretNames(m map[string]sealedSecret) []string {
	return append([]string{}, slices.Sorted(maps.Keys(m))...)
}

func place(target uuid.UUID, name string) []byte {
	return []byte("integration_target\n" + target.String() + "\n" + name)
}

func (s *Service) seal(target uuid.UUID, name, value string) (string, error) {
	b, err := s.opts.Sealer.Seal([]byte(value), place(target, name))
	if err != nil {
		return "", fmt.Errorf("seal secret %s: %w", name, err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// secrets opens the secrets of t that have not run out.
func (s *Service) secrets(t Target) (map[string]string, error) {
	out := map[string]string{}
	for name, sec := range t.sealed {
		if sec.Until != 0 && sec.Until.Time().Before(s.k.Now()) {
			continue
		}
		b, err := base64.StdEncoding.DecodeString(sec.Blob)
		if err != nil {
			return nil, fmt.Errorf("secret %s of target %s: %w", name, t.ID, err)
		}
		plain, err := s.opts.Sealer.Open(b, place(t.ID.UUID, name))
		if err != nil {
			return nil, fmt.Errorf("secret %s of target %s: %w", name, t.ID, err)
		}
		out[name] = string(plain)
	}
	return out, nil
}

// Rotated is a new secret, shown this once.
type Rotated struct {
	Secret    string // whsec_…; empty with v1a, where receivers need no secret
	PublicKey string // whpk_…, with v1a
	Until     time.Time
}

const rotationOverlap = 24 * time.Hour

// RotateSecret gives a webhook a new signing secret and returns it. For 24 hours
// messages are signed with the old one as well.
func (s *Service) RotateSecret(ctx context.Context, id governance.Identity, target governance.ID[Target]) (Rotated, error) {
	if err := s.k.Authorize(ctx, id, "integration:write", governance.Target{Resource: governance.RefTo("target", target)}); err != nil {
		return Rotated{}, err
	}
	if id.Subject != nil {
		return Rotated{}, &governance.DeniedError{Action: "integration.secret.rotate", Rule: "impersonation", Reason: "refused while impersonating somebody"}
	}
	return s.rotate(ctx, id, target)
}

func (s *Service) rotate(ctx context.Context, id governance.Identity, target governance.ID[Target]) (Rotated, error) {
	t, err := s.Target(ctx, target)
	if err != nil {
		return Rotated{}, err
	}
	if t.Kind != Webhook {
		return Rotated{}, governance.Invalid("target", "only a webhook has a signing secret")
	}
	var out Rotated
	var plain string
	if t.Config[configSignature] == "v1a" {
		key := webhook.NewPrivateKey()
		plain, out.PublicKey = key.Reveal(), key.Public().String()
	} else {
		plain = webhook.NewSecret().Reveal()
		out.Secret = plain
	}
	blob, err := s.seal(target.UUID, secretSigning, plain)
	if err != nil {
		return Rotated{}, err
	}
	// The old secret moves to another place, so it is sealed anew.
	old, err := s.secrets(t)
	if err != nil {
		return Rotated{}, err
	}
	sealed := map[string]sealedSecret{secretSigning: {Blob: blob}}
	if have := old[secretSigning]; have != "" {
		previous, err := s.seal(target.UUID, secretPrevious, have)
		if err != nil {
			return Rotated{}, err
		}
		out.Until = s.k.Now().Add(rotationOverlap)
		sealed[secretPrevious] = sealedSecret{Blob: previous, Until: govdb.At(out.Until)}
	}
	text, err := json.Marshal(sealed)
	if err != nil {
		return Rotated{}, fmt.Errorf("rotate secret of %s: %w", target, err)
	}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		now := govdb.At(s.k.Now())
		res, err := tx.ExecContext(ctx, "UPDATE integration_target SET sealed = ?, public_key = ?, version = version + 1, updated_at = ? WHERE id = ? AND version = ? AND state <> ?",
			string(text), out.PublicKey, now, target.UUID, t.Version, TargetRemoved)
		if err != nil {
			return fmt.Errorf("rotate secret of %s: %w", target, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("target %s was changed meanwhile: %w", target, governance.ErrConflict)
		}
		if t.State == TargetPaused && t.Cause == CauseSecret {
			if err := s.activeTx(ctx, tx, target.UUID, now); err != nil {
				return err
			}
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "integration.secret.rotate", Resource: governance.RefTo("target", target), Data: map[string]string{"name": t.Name}})
		tx.AfterCommit(s.wake)
		return err
	})
	if err != nil {
		return Rotated{}, err
	}
	return out, nil
}
