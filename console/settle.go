package console

import (
	"github.com/reevehq/reeve/governance"
)

// settleForm asks how a remote act ended that nobody heard of; nil where the caller may
// not say so, or there is nothing to say.
func settleForm(c *Ctx, a governance.Approval) []Field {
	if a.State != governance.StateUnknown || !c.Can("approval:vote") {
		return nil
	}
	return []Field{
		c.Field(Field{Name: "outcome", Label: "How it ended", Kind: "select", Required: true,
			Options: []Option{{Value: "", Text: "Choose"}, {Value: "done", Text: "It was done"}, {Value: "not", Text: "It was certainly not done"}}}),
		c.Field(Field{Name: "reason", Label: "How you know", Kind: "textarea", Required: true, MaxLen: 2000,
			Hint: "Look at the other system first: nothing is called again. It stands in the ledger."}),
	}
}

func approvalSettle(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	outcome := c.Form("outcome")
	if outcome != "done" && outcome != "not" {
		return Done{}, governance.Invalid("outcome", "is required")
	}
	_, err = c.Kernel().SettleUnknown(c.Context(), c.Identity, governance.Settlement{Action: id, Done: outcome == "done", Reason: c.Form("reason")},
		&governance.DoOptions{Key: c.Key()})
	return Done{To: "/approvals/" + id.String(), Flash: "Settled. It is written down who said so."}, err
}
