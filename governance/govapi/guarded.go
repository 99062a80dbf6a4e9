package govapi

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Idempotent is embedded in the input of an operation with an effect.
type Idempotent struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"A second request with it, by the same caller, returns the first outcome; with another body it is a conflict"`
}

// GovDone says that an action was done.
type GovDone[R any] struct {
	Action    string      `json:"action" doc:"Id of the action"`
	State     string      `json:"state" enum:"executed" doc:"How it ended"`
	Result    R           `json:"result" doc:"What the action did"`
	Receipt   *GovReceipt `json:"receipt,omitempty" doc:"The ledger record that was committed with it; absent on a replay"`
	Replayed  bool        `json:"replayed,omitempty" doc:"The outcome of an earlier request with the same Idempotency-Key"`
	Bootstrap bool        `json:"bootstrap,omitempty" doc:"Done by one person before three existed"`
}

// GovReceipt names a committed ledger record.
type GovReceipt struct {
	Record string    `json:"record"`
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
	Signed string    `json:"signed,omitempty" doc:"The ledger's promise to have the record in its tree within seconds, for reeve-verify receipts; with Prefer: receipt=signed"`
}

// GovHeld says that an action waits for people.
type GovHeld struct {
	Approval string    `json:"approval" doc:"Id of the approval; its address is in Location"`
	State    string    `json:"state" enum:"pending,approved,executing,executed,unknown,failed,denied,expired,cancelled,lapsed,superseded"`
	Digest   string    `json:"digest" doc:"What a vote must repeat"`
	Why      []string  `json:"why" doc:"One line for each policy that holds it"`
	DecideBy time.Time `json:"decide_by"`
}

// GovAny is a result whose form depends on the action.
type GovAny map[string]any

type guardedOutput struct {
	Status   int
	Location string `header:"Location" doc:"Address of the approval, with 202"`
	Body     any
}

// Guarded registers an operation that runs an action. fn returns what Do returned.
func Guarded[I any](a *API, permission string, op huma.Operation, fn func(ctx context.Context, id governance.Identity, in *I) (governance.Outcome, error)) {
	GuardedResult[GovAny](a, permission, op, fn)
}

// GuardedResult is [Guarded] with the type of the action's result in the OpenAPI
// document.
func GuardedResult[R, I any](a *API, permission string, op huma.Operation, fn func(ctx context.Context, id governance.Identity, in *I) (governance.Outcome, error)) {
	reg := a.huma.OpenAPI().Components.Schemas
	schema := func(t reflect.Type) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{"application/json": {Schema: reg.Schema(t, true, "")}}
	}
	op.Responses = map[string]*huma.Response{
		"200": {Description: "Done", Content: schema(reflect.TypeFor[GovDone[R]]())},
		"202": {Description: "Held until people decide", Content: schema(reflect.TypeFor[GovHeld]()),
			Headers: map[string]*huma.Param{"Location": {Description: "Address of the approval", Schema: &huma.Schema{Type: "string"}}}},
	}
	op.Parameters = append(op.Parameters, &huma.Param{Name: breakGlassHeader, In: "header", Schema: &huma.Schema{Type: "string", Enum: []any{"true"}},
		Description: "Act at once where a policy would hold it, if the policy lets you in an emergency: with a fresh sign-in and a reason; it raises an alert and is reviewed"})
	op.Parameters = append(op.Parameters, &huma.Param{Name: preferHeader, In: "header", Schema: &huma.Schema{Type: "string", MaxLength: new(preferMax), Examples: []any{preferSigned}},
		Description: "With " + preferSigned + " the receipt comes signed by the ledger (RFC 7240); other preferences are passed over"})
	op.DefaultStatus = http.StatusOK
	a.prepare(&op, permission)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*guardedOutput, error) {
		id, _ := governance.IdentityFrom(ctx)
		out, err := fn(ctx, id, in)
		answer, err := a.answer(ctx, out, err)
		if err != nil {
			return nil, a.problem(ctx, op, err)
		}
		return answer, nil
	})
}

func (a *API) answer(ctx context.Context, out governance.Outcome, err error) (*guardedOutput, error) {
	var held *governance.ApprovalRequiredError
	switch {
	case errors.As(err, &held):
		ap, err := a.k.Approval(ctx, held.Approval)
		if err != nil {
			return nil, err
		}
		body := GovHeld{Approval: ap.ID.String(), State: string(ap.State), Digest: string(ap.Digest), Why: append([]string{}, held.Why...), DecideBy: ap.DecideBy}
		return &guardedOutput{http.StatusAccepted, a.prefix() + "/approvals/" + ap.ID.String(), body}, nil
	case err != nil && out.State == governance.StateUnknown:
		p := problem("unknown-outcome", http.StatusBadGateway, "Nobody knows yet whether it happened; it is being looked up and will not be done twice.")
		p.Action = out.Action.String()
		return nil, p
	case err != nil:
		return nil, err
	}
	done := GovDone[json.RawMessage]{Action: out.Action.String(), State: string(out.State), Result: out.Data, Replayed: out.Replayed, Bootstrap: out.Bootstrap}
	if len(done.Result) == 0 {
		done.Result = json.RawMessage("null")
	}
	if out.Receipt.ID != uuid.Nil {
		id := out.Receipt.ID.String()
		var signed []byte
		if yes, _ := ctx.Value(signedKey{}).(bool); yes { // a signature for each act costs more than the act's decision
			signed, _ = a.k.Ledger().SignReceipts(id, 1, true, []governance.Receipt{out.Receipt}) // unsigned when it cannot be: the act is done
		}
		done.Receipt = &GovReceipt{id, "sha256:" + hex.EncodeToString(out.Receipt.Digest[:]), out.Receipt.At, string(signed)}
	}
	return &guardedOutput{Status: http.StatusOK, Body: done}, nil
}

// preferSigned is the preference of a caller who keeps receipts.
const (
	preferHeader = "Prefer"
	preferSigned = "receipt=signed"
	preferMax    = 200
)

type signedKey struct{}

// prefers tells whether a Prefer header has a preference among others.
func prefers(header, preference string) bool {
	return slices.ContainsFunc(strings.Split(header, ","), func(p string) bool {
		p, _, _ = strings.Cut(p, ";") // parameters of it
		return strings.EqualFold(strings.TrimSpace(p), preference)
	})
}

// prefix is where the host mounted the API, as its OpenAPI document says.
func (a *API) prefix() string {
	for _, s := range a.huma.OpenAPI().Servers {
		if u, err := url.Parse(s.URL); err == nil {
			return strings.TrimSuffix(u.Path, "/")
		}
	}
	return ""
}
