package govapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/outbox"
)

// body wraps a response body.
type body[T any] struct{ Body T }

// Kernel registers the kernel's operations: approvals, tenants, alerts, policies,
// the ledger and the events.
func Kernel(api huma.API, k *governance.Kernel) {
	a := New(api, k)
	approvals(a)
	tenants(a)
	alerts(a)
	policies(a)
	catalogue(a)
	reviews(a)
	delegations(a)
	backTests(a)
	breakGlass(a)
	settlements(a)
	ledgers(a)
}

// GovApprovalID is the path of an approval.
type GovApprovalID struct {
	ID string `path:"id" format:"uuid" doc:"Id of the approval"`
}

type govListApprovals struct {
	Page
	State  []string `query:"state" enum:"pending,approved,executing,executed,unknown,failed,denied,expired,cancelled,lapsed,superseded"`
	Tenant string   `query:"tenant" maxLength:"128"`
}

type govCastVote struct {
	GovApprovalID
	Idempotent
	Body struct {
		Decision  string          `json:"decision" enum:"approve,deny"`
		Digest    string          `json:"digest" maxLength:"100" doc:"The approval's own: it shows that the voter saw this payload"`
		Comment   string          `json:"comment,omitempty" maxLength:"2000"`
		Assertion json.RawMessage `json:"assertion,omitempty" doc:"Where votes are signed: what the authenticator answered to this vote's challenge, as the browser gives it"`
	}
}

type govCancelApproval struct {
	GovApprovalID
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500"`
	}
}

func approvals(a *API) {
	k := a.k
	tags := []string{"Approvals"}
	Register(a, "approval:read", huma.Operation{OperationID: "gov-list-approvals", Method: http.MethodGet, Path: "/approvals", Summary: "List held actions", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govListApprovals) (*body[List[GovApproval]], error) {
			cur, err := ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			f := governance.ApprovalFilter{Tenant: governance.TenantID(in.Tenant), Limit: in.Limit}
			for _, s := range in.State {
				f.States = append(f.States, governance.State(s))
			}
			if cur[0] != "" {
				if f.Before, err = parseUUID("query.cursor", cur[0]); err != nil {
					return nil, err
				}
			}
			as, err := k.Approvals(ctx, f)
			if err != nil {
				return nil, err
			}
			items := make([]GovApproval, len(as))
			for i, ap := range as {
				items[i] = wireApproval(ap)
			}
			return &body[List[GovApproval]]{NewList(items, nextCursor(items, in.Limit, func(g GovApproval) string { return g.ID }))}, nil
		})
	Register(a, "approval:read", huma.Operation{OperationID: "gov-get-approval", Method: http.MethodGet, Path: "/approvals/{id}", Summary: "Read a held action with its votes", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *GovApprovalID) (*body[GovApproval], error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			return approvalBody(k.Approval(ctx, id))
		})
	Register(a, "approval:vote", huma.Operation{OperationID: "gov-vote", Method: http.MethodPost, Path: "/approvals/{id}/votes", Summary: "Vote on a held action", Tags: tags,
		Description: "With the last vote needed the action is approved and, unless its policy says manual, executed."},
		func(ctx context.Context, caller governance.Identity, in *govCastVote) (*body[GovApproval], error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			v := governance.Vote{Decision: governance.VoteDecision(in.Body.Decision), Digest: governance.Digest(in.Body.Digest), Comment: in.Body.Comment, Assertion: in.Body.Assertion}
			return approvalBody(k.Decide(ctx, caller, id, v))
		})
	Register(a, "approval:read", huma.Operation{OperationID: "gov-execute-approval", Method: http.MethodPost, Path: "/approvals/{id}/execute", Summary: "Execute an approved action", Tags: tags,
		Description: "Once only: a second call is a conflict. Its requester and voters are checked again first."},
		func(ctx context.Context, caller governance.Identity, in *struct {
			GovApprovalID
			Idempotent
		}) (*body[GovApproval], error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			if _, err := k.Execute(ctx, caller, id); err != nil {
				return nil, err
			}
			return approvalBody(k.Approval(ctx, id))
		})
	Register(a, "approval:read", huma.Operation{OperationID: "gov-cancel-approval", Method: http.MethodPost, Path: "/approvals/{id}/cancel", Summary: "Withdraw a held action", Tags: tags},
		func(ctx context.Context, caller governance.Identity, in *govCancelApproval) (*body[GovApproval], error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			if err := k.Cancel(ctx, caller, id, in.Body.Reason); err != nil {
				return nil, err
			}
			return approvalBody(k.Approval(ctx, id))
		})
}

func approvalBody(ap governance.Approval, err error) (*body[GovApproval], error) {
	if err != nil {
		return nil, err
	}
	return &body[GovApproval]{wireApproval(ap)}, nil
}

// nextCursor is the cursor after a full page; a page that is not full is the last.
func nextCursor[T any](items []T, limit int, key func(T) string) string {
	if limit <= 0 {
		limit = 50
	}
	if len(items) < limit {
		return ""
	}
	return Cursor(key(items[len(items)-1]))
}

// GovTenantID is the path of a tenant.
type GovTenantID struct {
	ID string `path:"id" maxLength:"128" doc:"The host's own id of the tenant"`
}

type govListTenants struct {
	Page
	Search  string `query:"search" maxLength:"200" doc:"Part of the name or the id"`
	Country string `query:"country" pattern:"^[A-Z]{2}$"`
	Status  string `query:"status" enum:"trial,active,closed"`
	Plan    string `query:"plan" maxLength:"100"`
}

type govTenantEvents struct {
	GovTenantID
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" maxLength:"400"`
}

type govTenantAccess struct {
	GovTenantID
	Feature string `query:"feature" maxLength:"128" doc:"Empty asks for the product as a whole"`
}

func tenants(a *API) {
	k := a.k
	tags := []string{"Tenants"}
	Register(a, "tenant:read", huma.Operation{OperationID: "gov-list-tenants", Method: http.MethodGet, Path: "/tenants", Summary: "List tenants by id", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govListTenants) (*body[List[GovTenant]], error) {
			cur, err := ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			ts, err := k.Tenants(ctx, governance.TenantFilter{Search: in.Search, Country: in.Country, Status: governance.TenantStatus(in.Status), Plan: in.Plan,
				After: governance.TenantID(cur[0]), Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			items := make([]GovTenant, len(ts))
			for i, t := range ts {
				items[i] = wireTenant(t)
			}
			return &body[List[GovTenant]]{NewList(items, nextCursor(items, in.Limit, func(t GovTenant) string { return t.ID }))}, nil
		})
	Register(a, "tenant:read", huma.Operation{OperationID: "gov-get-tenant", Method: http.MethodGet, Path: "/tenants/{id}", Summary: "Read a tenant with its entitlements and restrictions", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *GovTenantID) (*body[GovTenantState], error) {
			s, err := k.TenantState(ctx, governance.TenantID(in.ID))
			if err != nil {
				return nil, err
			}
			return &body[GovTenantState]{wireState(s)}, nil
		})
	Register(a, "tenant:read", huma.Operation{OperationID: "gov-tenant-access", Method: http.MethodGet, Path: "/tenants/{id}/access", Summary: "May the tenant use a feature now?", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govTenantAccess) (*body[GovAccess], error) {
			d, err := k.Access(ctx, governance.TenantID(in.ID), in.Feature)
			if err != nil {
				return nil, err
			}
			return &body[GovAccess]{GovAccess(d)}, nil
		})
	Register(a, "tenant:read", huma.Operation{OperationID: "gov-tenant-events", Method: http.MethodGet, Path: "/tenants/{id}/events", Summary: "A tenant's events, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govTenantEvents) (*body[List[GovEvent]], error) {
			f := outbox.Filter{Tenant: in.ID, Limit: int64(in.Limit)}
			return listEvents(ctx, a, f, in.Cursor, in.Limit)
		})
}

func listEvents(ctx context.Context, a *API, f outbox.Filter, cursor string, limit int) (*body[List[GovEvent]], error) {
	cur, err := ParseCursor(cursor, 1)
	if err != nil {
		return nil, err
	}
	if cur[0] != "" {
		if f.Before, err = strconv.ParseInt(cur[0], 10, 64); err != nil || f.Before < 1 {
			return nil, governance.Invalid("query.cursor", "is not a cursor of this list")
		}
	}
	evs, err := outbox.Events(ctx, a.k.DB(), f)
	if err != nil {
		return nil, err
	}
	items := make([]GovEvent, len(evs))
	for i, e := range evs {
		items[i] = wireEvent(e)
	}
	return &body[List[GovEvent]]{NewList(items, nextCursor(items, limit, func(e GovEvent) string { return itoa(e.N) }))}, nil
}

// GovPolicyID is the path of a policy.
type GovPolicyID struct {
	ID string `path:"id" maxLength:"64"`
}

type govPutPolicy struct {
	GovPolicyID
	Idempotent
	Body struct {
		Policy GovPolicy `json:"policy"`
		Reason string    `json:"reason,omitempty" maxLength:"2000"`
	}
}

// GovPolicyPut is the result of editing a policy.
type GovPolicyPut struct {
	Policy  string `json:"policy"`
	Version int    `json:"version"`
	Hash    string `json:"hash"`
}

func policies(a *API) {
	k := a.k
	tags := []string{"Policies"}
	list := func(vs []governance.PolicyVersion, err error) (*body[List[GovPolicyVersion]], error) {
		if err != nil {
			return nil, err
		}
		items := make([]GovPolicyVersion, len(vs))
		for i, v := range vs {
			items[i] = wirePolicy(v)
		}
		return &body[List[GovPolicyVersion]]{NewList(items, "")}, nil
	}
	Register(a, "policy:read", huma.Operation{OperationID: "gov-list-policies", Method: http.MethodGet, Path: "/policies", Summary: "List the policies in force", Tags: tags},
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*body[List[GovPolicyVersion]], error) {
			return list(k.Policies(ctx))
		})
	Register(a, "policy:read", huma.Operation{OperationID: "gov-policy-history", Method: http.MethodGet, Path: "/policies/{id}/versions", Summary: "List a policy's versions", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *GovPolicyID) (*body[List[GovPolicyVersion]], error) {
			vs, err := k.PolicyHistory(ctx, in.ID)
			if err == nil && len(vs) == 0 {
				err = fmt.Errorf("policy %s: %w", in.ID, governance.ErrNotFound)
			}
			return list(vs, err)
		})
	GuardedResult[GovPolicyPut](a, "policy:write", huma.Operation{OperationID: "gov-put-policy", Method: http.MethodPut, Path: "/policies/{id}", Summary: "Store a policy's next version", Tags: tags,
		Description: "The version in force stays so until the edit itself has passed the guard."},
		func(ctx context.Context, caller governance.Identity, in *govPutPolicy) (governance.Outcome, error) {
			if in.Body.Policy.ID != in.ID {
				return governance.Outcome{}, governance.Invalid("body.policy.id", "is not the id in the path")
			}
			p, err := in.Body.Policy.policy()
			if err != nil {
				return governance.Outcome{}, err
			}
			return k.PutPolicy(ctx, caller, p, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
}

type govListRecords struct {
	Page
	Tenant string `query:"tenant" maxLength:"128" doc:"Absent: every tenant's"`
	Search string `query:"search" maxLength:"200" doc:"Part of the body"`
}

type govProveTenant struct {
	Tenant string `query:"tenant" maxLength:"128" doc:"Absent: records of no tenant"`
	From   int64  `query:"from" minimum:"0" doc:"After the checkpoint of this size; absent: from the beginning"`
}

type govErase struct {
	Idempotent
	Body struct {
		Subject string `json:"subject" minLength:"1" maxLength:"300" doc:"Whom the values are about, such as person:ID or record:ID"`
		Basis   string `json:"basis" minLength:"1" maxLength:"500" doc:"Why they may or must be erased, such as the number of a request"`
		Reason  string `json:"reason,omitempty" maxLength:"2000"`
	}
}

type govResumeLedger struct {
	Idempotent
	Body struct {
		Finding string `json:"finding" minLength:"1" maxLength:"500" doc:"How it was found out that whoever stopped it was wrong"`
		Reason  string `json:"reason,omitempty" maxLength:"2000"`
	}
}

type govRecordID struct {
	ID string `path:"id" format:"uuid"`
}

// GovProof shows offline that a record is in the log.
type GovProof struct {
	Body       string   `json:"body" doc:"The leaf, byte for byte"`
	N          int64    `json:"n"`
	Path       []string `json:"path" doc:"RFC 6962 inclusion proof, base64"`
	Checkpoint string   `json:"checkpoint" doc:"C2SP signed checkpoint"`
}

// GovCheckpoint is the signed head of the log.
type GovCheckpoint struct {
	Size        int64  `json:"size"`
	Note        string `json:"note" doc:"C2SP signed checkpoint"`
	VerifierKey string `json:"verifier_key" doc:"What others check it with"`
	Stopped     string `json:"stopped,omitempty" doc:"Why nothing is signed any more; absent while it is"`
}

// GovVerification is what checking the whole log found.
type GovVerification struct {
	Records     int64    `json:"records"`
	Checkpoints int64    `json:"checkpoints"`
	Unsealed    int64    `json:"unsealed"`
	Problems    []string `json:"problems"`
}

type govListEvents struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" maxLength:"400"`
	Type   string `query:"type" maxLength:"100"`
}

func ledgers(a *API) {
	k := a.k
	log := k.Ledger()
	tags := []string{"Ledger"}
	Register(a, "ledger:read", huma.Operation{OperationID: "gov-list-records", Method: http.MethodGet, Path: "/ledger/records", Summary: "List records, newest first", Tags: tags},
		func(ctx context.Context, caller governance.Identity, in *govListRecords) (*body[List[GovRecord]], error) {
			cur, err := ParseCursor(in.Cursor, 1)
			if err != nil {
				return nil, err
			}
			before := uuid.Nil
			if cur[0] != "" {
				if before, err = parseUUID("query.cursor", cur[0]); err != nil {
					return nil, err
				}
			}
			rs, err := log.Records(ctx, ledger.Filter{Tenant: in.Tenant, AllTenants: in.Tenant == "", Search: in.Search, Before: before, Limit: int64(in.Limit)})
			if err != nil {
				return nil, err
			}
			if err := k.LogRead(ctx, caller, "records"); err != nil {
				return nil, err
			}
			items := make([]GovRecord, len(rs))
			for i, r := range rs {
				items[i] = wireRecord(r)
			}
			return &body[List[GovRecord]]{NewList(items, nextCursor(items, in.Limit, func(r GovRecord) string { return r.ID }))}, nil
		})
	Register(a, "ledger:read", huma.Operation{OperationID: "gov-get-record", Method: http.MethodGet, Path: "/ledger/records/{id}", Summary: "Read a record", Tags: tags},
		func(ctx context.Context, caller governance.Identity, in *govRecordID) (*body[GovRecord], error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			r, err := log.Record(ctx, id)
			if err != nil {
				return nil, ledgerError(err)
			}
			if err := k.LogRead(ctx, caller, "record"); err != nil {
				return nil, err
			}
			return &body[GovRecord]{wireRecord(r)}, nil
		})
	Register(a, "ledger:read", huma.Operation{OperationID: "gov-prove-record", Method: http.MethodGet, Path: "/ledger/records/{id}/proof", Summary: "Prove that a record is in the log", Tags: tags},
		func(ctx context.Context, caller governance.Identity, in *govRecordID) (*body[GovProof], error) {
			id, err := parseUUID("path.id", in.ID)
			if err != nil {
				return nil, err
			}
			p, err := log.Prove(ctx, id)
			if err != nil {
				return nil, ledgerError(err)
			}
			if err := k.LogRead(ctx, caller, "proof"); err != nil {
				return nil, err
			}
			return &body[GovProof]{GovProof(p)}, nil
		})
	Register(a, "ledger:read", huma.Operation{OperationID: "gov-checkpoint", Method: http.MethodGet, Path: "/ledger/checkpoint", Summary: "Read the newest signed checkpoint", Tags: tags},
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*body[GovCheckpoint], error) {
			c, err := log.Checkpoint(ctx)
			if err != nil {
				return nil, ledgerError(err)
			}
			h, err := log.Halted(ctx)
			if err != nil {
				return nil, err
			}
			stopped := ""
			if h != nil {
				stopped = h.Reason
			}
			return &body[GovCheckpoint]{GovCheckpoint{c.Size, c.Note, log.VerifierKey(), stopped}}, nil
		})
	Register(a, "ledger:read", huma.Operation{OperationID: "gov-prove-tenant", Method: http.MethodGet, Path: "/ledger/proof", Summary: "Prove that a tenant's records are all there are", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govProveTenant) (*body[GovSequenceProof], error) {
			p, err := log.ProveTenant(ctx, in.Tenant, in.From)
			if err != nil {
				return nil, ledgerError(err)
			}
			return &body[GovSequenceProof]{wireSequenceProof(p)}, nil
		})
	GuardedResult[GovErased](a, "ledger:erase", huma.Operation{OperationID: "gov-erase", Method: http.MethodPost, Path: "/ledger/erasures", Summary: "Erase the personal values about somebody", Tags: tags,
		Description: "Destroys the keys under which the ledger keeps them. Records and proofs stay as they are. It cannot be undone."},
		func(ctx context.Context, caller governance.Identity, in *govErase) (governance.Outcome, error) {
			return k.Erase(ctx, caller, governance.Erasure{Subject: in.Body.Subject, Basis: in.Body.Basis}, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
	GuardedResult[GovResumed](a, "ledger:resume", huma.Operation{OperationID: "gov-resume-ledger", Method: http.MethodPost, Path: "/ledger/resume", Summary: "Sign the ledger again after a witness was wrong", Tags: tags,
		Description: "A witness that knows another past stops the log from signing. When it was wrong, this lets the log go on. What the log itself signed elsewhere cannot be passed over: then the log is renewed under another name."},
		func(ctx context.Context, caller governance.Identity, in *govResumeLedger) (governance.Outcome, error) {
			return k.ResumeLedger(ctx, caller, governance.Resumption{Finding: in.Body.Finding}, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
	Register(a, "ledger:read", huma.Operation{OperationID: "gov-verify-ledger", Method: http.MethodPost, Path: "/ledger/verify", Summary: "Recompute the whole log and compare", Tags: tags},
		func(ctx context.Context, caller governance.Identity, _ *struct{}) (*body[GovVerification], error) {
			if err := k.LogRead(ctx, caller, "verification"); err != nil {
				return nil, err
			}
			r, err := log.Verify(ctx)
			if err != nil {
				return nil, err
			}
			return &body[GovVerification]{GovVerification(r)}, nil
		})
	Register(a, "ledger:read", huma.Operation{OperationID: "gov-list-events", Method: http.MethodGet, Path: "/events", Summary: "List events, newest first", Tags: tags},
		func(ctx context.Context, _ governance.Identity, in *govListEvents) (*body[List[GovEvent]], error) {
			return listEvents(ctx, a, outbox.Filter{AllTenants: true, Type: in.Type, Limit: int64(in.Limit)}, in.Cursor, in.Limit)
		})
}

// ledgerError maps the ledger's own sentinel, which knows no kernel.
func ledgerError(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("%w: %w", governance.ErrNotFound, err)
	}
	return err
}
