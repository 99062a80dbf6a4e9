// Package siemapi puts package siem on a huma API: how the copies of the log stand, and
// pausing and resuming them.
//
// Start with [Register]. Errors are those of package govapi.
package siemapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/oversight/siem"
)

// OversightSink is how the copying of the log to one place stands.
type OversightSink struct {
	Name        string     `json:"name"`
	Kind        string     `json:"kind" enum:"file,syslog,http"`
	Target      string     `json:"target" doc:"Where events go, without secrets"`
	State       string     `json:"state" enum:"active,paused,removed" doc:"removed: no longer in the settings"`
	NextLeaf    int64      `json:"next_leaf" doc:"The leaf it gets next"`
	Lag         int64      `json:"lag" doc:"Sealed records that it has not taken"`
	LagSeconds  int64      `json:"lag_seconds" doc:"Age of the first of them"`
	Failures    int64      `json:"failures" doc:"In a row"`
	LastError   string     `json:"last_error,omitempty"`
	NextTry     *time.Time `json:"next_try,omitempty"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
	PausedBy    string     `json:"paused_by,omitempty"`
	PausedWhy   string     `json:"paused_why,omitempty"`
	PausedAt    *time.Time `json:"paused_at,omitempty"`
}

// OversightSinkTurned is the result of pausing or resuming.
type OversightSinkTurned struct {
	Sink     string `json:"sink"`
	State    string `json:"state" enum:"active,paused"`
	NextLeaf string `json:"next_leaf"`
}

type oversightSinkList struct {
	Body govapi.List[OversightSink]
}

type oversightSinkTurn struct {
	govapi.Idempotent
	Name string `path:"name" maxLength:"32" pattern:"^[a-z][a-z0-9-]*$" doc:"Name of the sink"`
	Body struct {
		Reason string `json:"reason" minLength:"3" maxLength:"500"`
	}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Register adds the operations.
func Register(api huma.API, svc *siem.Service) {
	a := govapi.New(api, svc.Kernel())
	tags := []string{"Log export"}
	govapi.Register(a, siem.PermissionRead, huma.Operation{OperationID: "oversight-list-sinks", Method: http.MethodGet, Path: "/siem/sinks", Summary: "List where the log is copied to", Tags: tags},
		func(ctx context.Context, _ governance.Identity, _ *struct{}) (*oversightSinkList, error) {
			sts, err := svc.Statuses(ctx)
			if err != nil {
				return nil, err
			}
			items := make([]OversightSink, len(sts))
			for i, st := range sts {
				items[i] = OversightSink{Name: st.Name, Kind: st.Kind, Target: st.Target, State: string(st.State), NextLeaf: st.Next, Lag: st.Lag, LagSeconds: int64(st.Oldest.Seconds()),
					Failures: st.Failures, LastError: st.Error, NextTry: optional(st.NextTry), LastSuccess: optional(st.SentAt), PausedBy: st.PausedBy, PausedWhy: st.PausedWhy, PausedAt: optional(st.PausedAt)}
			}
			return &oversightSinkList{govapi.NewList(items, "")}, nil
		})
	govapi.GuardedResult[OversightSinkTurned](a, siem.PermissionWrite, huma.Operation{OperationID: "oversight-pause-sink", Method: http.MethodPost, Path: "/siem/sinks/{name}/pause",
		Summary: "Stop copying the log to a sink", Tags: tags, Description: "Records wait for it; none is lost."},
		func(ctx context.Context, id governance.Identity, in *oversightSinkTurn) (governance.Outcome, error) {
			return svc.Pause(ctx, id, in.Name, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
	govapi.GuardedResult[OversightSinkTurned](a, siem.PermissionWrite, huma.Operation{OperationID: "oversight-resume-sink", Method: http.MethodPost, Path: "/siem/sinks/{name}/resume",
		Summary: "Go on copying the log where it was paused", Tags: tags},
		func(ctx context.Context, id governance.Identity, in *oversightSinkTurn) (governance.Outcome, error) {
			return svc.Resume(ctx, id, in.Name, &governance.DoOptions{Key: in.Key, Reason: in.Body.Reason})
		})
}
