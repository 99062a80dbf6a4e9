package nth

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govauth/passkey"
	"github.com/reevehq/reeve/internal/softkey"
)

// site is where security keys work.
const site = "http://localhost:8080"

// noTest lets the software key be used in a process that is no test: what goes wrong
// with it ends the process.
type noTest struct{ testing.TB }

func (noTest) Helper()                      {}
func (noTest) FailNow()                     { panic("security key") }
func (noTest) Errorf(text string, a ...any) { panic(fmt.Sprintf(text, a...)) }

// sign lets bob register a new key in place of those he had, and sign what waits of a
// name with it, unless that is done.
func sign(ctx context.Context, w *world, name string) error {
	out, err := w.signed.Do(ctx, w.k, as("ann"), input{name, 60}, key(name))
	var wait *governance.ApprovalRequiredError
	if !errors.As(err, &wait) {
		return err
	}
	a, err := w.k.Approval(ctx, out.Action)
	if err != nil || a.State != governance.StatePending {
		return err
	}
	old, err := w.keys.Keys(ctx, "bob")
	if err != nil {
		return err
	}
	for _, k := range old {
		if k.RevokedAt.IsZero() {
			if err := w.keys.Revoke(ctx, as("bob"), passkey.Revoke{Key: k.ID, Reason: "a new one came", Retired: true}); err != nil {
				return err
			}
		}
	}
	soft := softkey.New(noTest{}, softkey.ES256, site)
	options, err := w.keys.BeginEnrol(ctx, as("bob"))
	if err != nil {
		return err
	}
	if _, err := w.keys.FinishEnrol(ctx, as("bob"), "key", soft.Create(noTest{}, options)); err != nil {
		return err
	}
	if options, err = w.keys.BeginVote(ctx, as("bob"), a.ID, governance.Approve, a.Digest); err != nil {
		return err
	}
	_, err = w.k.Decide(ctx, as("bob"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest, Assertion: soft.Get(noTest{}, options)})
	return err
}
