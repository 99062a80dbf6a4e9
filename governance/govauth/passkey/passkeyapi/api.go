// Package passkeyapi puts package passkey on a huma API: one's own security keys, and
// the challenge of a vote.
//
// Start with [Register]. Keys are registered by a browser that is signed in: nobody
// registers one for somebody else, and no API key registers any.
package passkeyapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govauth/passkey"
)

type body[T any] struct{ Body T }

// AuthPasskeyKey is a registered security key.
type AuthPasskeyKey struct {
	ID          string     `json:"id"`
	Person      string     `json:"person"`
	Name        string     `json:"name"`
	Site        string     `json:"site" doc:"Domain it works on"`
	Synced      bool       `json:"synced" doc:"Its vendor copies it between devices"`
	CreatedAt   time.Time  `json:"created_at"`
	UsedAt      *time.Time `json:"used_at,omitempty"`
	RevokedAt   *time.Time `json:"revoked_at,omitempty"`
	Compromised bool       `json:"compromised" doc:"Its votes do not count where they were not carried out"`
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func wire(k passkey.Key) AuthPasskeyKey {
	return AuthPasskeyKey{k.ID.String(), string(k.Person), k.Name, k.Site, k.Synced, k.CreatedAt, optional(k.UsedAt), optional(k.RevokedAt), k.Compromised}
}

// AuthPasskeyOptions is what the browser asks the authenticator.
type AuthPasskeyOptions struct {
	PublicKey json.RawMessage `json:"public_key" doc:"Argument publicKey of navigator.credentials.create or get, as JSON; good for five minutes and one answer"`
}

type authPasskeyFinish struct {
	Body struct {
		Name       string          `json:"name" minLength:"1" maxLength:"100"`
		Credential json.RawMessage `json:"credential" doc:"What navigator.credentials.create gave, as its toJSON() writes it"`
	}
}

type authPasskeyList struct {
	Person string `query:"person" maxLength:"64" doc:"With user:read; absent: one's own"`
}

type authPasskeyRevoke struct {
	ID   string `path:"id" format:"uuid" maxLength:"36"`
	Body struct {
		Reason  string `json:"reason" minLength:"1" maxLength:"500"`
		Retired bool   `json:"retired,omitempty" doc:"It was never out of its person's hands, and its votes stand. Only the person can say so."`
	}
}

type authPasskeyVote struct {
	ID   string `path:"id" format:"uuid" maxLength:"36"`
	Body struct {
		Decision string `json:"decision" enum:"approve,deny"`
		Digest   string `json:"digest" maxLength:"100" doc:"The approval's own"`
	}
}

func parse(id string) (uuid.UUID, error) {
	out, err := uuid.Parse(id)
	if err != nil {
		return out, governance.Invalid("path.id", "is not an id")
	}
	return out, nil
}

func options(raw json.RawMessage, err error) (*body[AuthPasskeyOptions], error) {
	if err != nil {
		return nil, err
	}
	return &body[AuthPasskeyOptions]{AuthPasskeyOptions{raw}}, nil
}

// Register adds the operations to a host's API.
func Register(api huma.API, svc *passkey.Service) {
	a := govapi.New(api, svc.Kernel())
	tags := []string{"Security keys"}
	govapi.Register(a, "", huma.Operation{OperationID: "auth-passkey-list", Method: http.MethodGet, Path: "/passkeys", Summary: "List one's security keys, newest first", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authPasskeyList) (*body[govapi.List[AuthPasskeyKey]], error) {
			person := governance.PersonID(in.Person)
			if person == "" {
				person = id.Actor.Person
			}
			if person != id.Actor.Person || person == "" || id.Subject != nil {
				if err := svc.Kernel().Authorize(ctx, id, "user:read", governance.Target{}); err != nil {
					return nil, err
				}
			}
			keys, err := svc.Keys(ctx, person)
			if err != nil {
				return nil, err
			}
			items := make([]AuthPasskeyKey, len(keys))
			for i, k := range keys {
				items[i] = wire(k)
			}
			return &body[govapi.List[AuthPasskeyKey]]{govapi.NewList(items, "")}, nil
		})
	govapi.Register(a, "", huma.Operation{OperationID: "auth-passkey-begin", Method: http.MethodPost, Path: "/passkeys/challenges", Summary: "Begin to register a security key of one's own",
		Description: "By a person who signed in within the last five minutes.", Tags: tags},
		func(ctx context.Context, id governance.Identity, _ *struct{}) (*body[AuthPasskeyOptions], error) {
			return options(svc.BeginEnrol(ctx, id))
		})
	govapi.Register(a, "", huma.Operation{OperationID: "auth-passkey-register", Method: http.MethodPost, Path: "/passkeys", Summary: "Register the key that the authenticator made", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authPasskeyFinish) (*body[AuthPasskeyKey], error) {
			k, err := svc.FinishEnrol(ctx, id, in.Body.Name, in.Body.Credential)
			if err != nil {
				return nil, err
			}
			return &body[AuthPasskeyKey]{wire(k)}, nil
		})
	govapi.Register(a, "", huma.Operation{OperationID: "auth-passkey-revoke", Method: http.MethodPost, Path: "/passkeys/{id}/revoke", Summary: "End a security key at once",
		Description: "One's own, or with key:write anybody's. Its votes that were not carried out yet stop counting, unless it was retired.", DefaultStatus: http.StatusNoContent, Tags: tags},
		func(ctx context.Context, id governance.Identity, in *authPasskeyRevoke) (*struct{}, error) {
			key, err := parse(in.ID)
			if err != nil {
				return nil, err
			}
			return nil, svc.Revoke(ctx, id, passkey.Revoke{Key: key, Reason: in.Body.Reason, Retired: in.Body.Retired})
		})
	govapi.Register(a, "approval:vote", huma.Operation{OperationID: "auth-passkey-begin-vote", Method: http.MethodPost, Path: "/approvals/{id}/challenges", Summary: "Get the challenge of one vote",
		Description: "The authenticator's answer goes into the vote as assertion. It is bound to the approval, its payload, the decision and the voter.", Tags: []string{"Approvals"}},
		func(ctx context.Context, id governance.Identity, in *authPasskeyVote) (*body[AuthPasskeyOptions], error) {
			approval, err := parse(in.ID)
			if err != nil {
				return nil, err
			}
			return options(svc.BeginVote(ctx, id, approval, governance.VoteDecision(in.Body.Decision), governance.Digest(in.Body.Digest)))
		})
}
