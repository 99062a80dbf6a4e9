package siem

import (
	"strings"

	"github.com/reevehq/reeve/governance"
)

// classify gives the class of a record and the activity within it, from the words of
// its action: "tenant.restriction.lift" resumes a tenant.
func classify(v governance.RecordView, foreign bool) (class, activity int) {
	words := strings.FieldsFunc(v.Action, func(r rune) bool { return r == '.' || r == '_' })
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	switch {
	case foreign:
		return ClassAPIActivity, 0
	case v.Action == "impersonation.open":
		return ClassAuthorizeSession, 1
	case reads(last, v):
		return ClassAPIActivity, 2
	case v.Resource.ID == "" || calls(v.Action):
		return ClassAPIActivity, apiActivity(last)
	}
	return ClassEntityManagement, entityActivity(last)
}

// reads tells whether an act only looks.
func reads(last string, v governance.RecordView) bool {
	switch last {
	case "read", "watch", "lookup", "download", "export", "take", "list", "view", "verify":
		return true
	}
	return v.Action == "impersonation.chunk"
}

// calls tells whether a record is of one call and not of a thing that changed.
func calls(action string) bool {
	return action == "impersonation.request" || strings.HasPrefix(action, "integration.") && !strings.HasPrefix(action, "integration.target.") ||
		strings.HasPrefix(action, "playbook.step") || action == "trigger"
}

// activities of Entity Management.
const (
	actCreate     = 1
	actUpdate     = 3
	actDelete     = 4
	actDeactivate = 11
	actActivate   = 10
	actSuspend    = 12
	actResume     = 13
)

func entityActivity(last string) int {
	switch last {
	case "create", "install", "invite", "add", "place", "start", "open", "begin", "register", "grant":
		return actCreate
	case "delete", "remove", "revoke", "purge", "erase", "close", "end", "stop", "cancel", "retire", "release":
		return actDelete
	case "restrict", "suspend", "freeze":
		return actSuspend
	case "lift", "unsuspend", "resume":
		return actResume
	case "pause", "deactivate", "disable":
		return actDeactivate
	case "activate", "enable":
		return actActivate
	}
	return actUpdate
}

func apiActivity(last string) int {
	switch entityActivity(last) {
	case actCreate:
		return 1
	case actDelete:
		return 4
	}
	return 3
}

func entityVerb(id int) string {
	return map[int]string{actCreate: "Create", 2: "Read", actUpdate: "Update", actDelete: "Delete", actActivate: "Activate", actDeactivate: "Deactivate", actSuspend: "Suspend", actResume: "Resume"}[id]
}

func apiVerb(id int) string {
	return map[int]string{0: "Unknown", 1: "Create", 2: "Read", 3: "Update", 4: "Delete"}[id]
}
