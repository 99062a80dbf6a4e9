package govauth

import (
	"strings"
)

// The roles. Each is a group of the same name, so a policy may ask for the approval
// of one.
const (
	RoleSuperAdmin    = "super_admin"
	RoleApprover      = "gov_approver"
	RoleAuditor       = "gov_auditor"
	RoleFinanceViewer = "finance_viewer"
	RoleCSAgent       = "cs_agent"
	RoleSupportKey    = "support_key" // of shared keys only
)

// Roles lists every role.
func Roles() []string {
	return []string{RoleSuperAdmin, RoleApprover, RoleAuditor, RoleFinanceViewer, RoleCSAgent, RoleSupportKey}
}

// PersonRoles lists the roles that a person may have: all of them. A person whose only
// role is support_key is how a help desk's key is bound to whoever answers for it.
func PersonRoles() []string { return Roles() }

// Permissions lists every permission there is, sorted. What is not in it is denied
// to everybody.
func Permissions() []string {
	return []string{
		"alert:ack", "alert:read", "alert:route", "alert:silence",
		"analytics:read", "analytics:write",
		"approval:read", "approval:vote",
		"evidence:build", "evidence:disclose", "evidence:read",
		"integration:read", "integration:write",
		"key:write",
		"ledger:erase", "ledger:read", "ledger:resume",
		"playbook:read", "playbook:run", "playbook:write",
		"policy:read", "policy:write",
		"retention:read", "retention:run", "retention:write",
		"runbook:read", "runbook:work",
		"session:end", "session:read", "session:review", "session:start",
		"siem:write",
		"support:lookup",
		"tenant:credit", "tenant:export", "tenant:plan", "tenant:read", "tenant:restrict",
		"user:read", "user:write",
	}
}

func isRead(permission string) bool { return strings.HasSuffix(permission, ":read") }
