package accessapi

import (
	"time"

	"github.com/reevehq/reeve/governance/govauth/access"
)

// AuthAccessList is who held which role at an instant.
type AuthAccessList struct {
	At           time.Time        `json:"at"`
	Complete     bool             `json:"complete" doc:"Nothing is missing at this instant"`
	CompleteFrom *time.Time       `json:"complete_from,omitempty" doc:"Since when nothing is missing"`
	People       []AuthAccessLine `json:"people"`
	Former       []AuthAccessLine `json:"former" doc:"Whose access had ended by then"`
	SharedKeys   []AuthAccessKey  `json:"shared_keys" doc:"Keys of nobody that worked then"`
}

// AuthAccessLine is one person's access.
type AuthAccessLine struct {
	Person  string          `json:"person"`
	Roles   []string        `json:"roles"`
	Region  string          `json:"region,omitempty"`
	Active  bool            `json:"active"`
	Version int64           `json:"version"`
	Since   time.Time       `json:"since"`
	By      string          `json:"by,omitempty" doc:"The actor who made it so"`
	Source  string          `json:"source" enum:"live,ledger,baseline,found" doc:"How the change is known"`
	Keys    []AuthAccessKey `json:"keys"`
}

// AuthAccessKey is an API key that worked.
type AuthAccessKey struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind" enum:"personal,shared"`
	Name      string    `json:"name"`
	Roles     []string  `json:"roles"`
	ExpiresAt time.Time `json:"expires_at"`
}

func wireKeys(ks []access.Key) []AuthAccessKey {
	out := make([]AuthAccessKey, len(ks))
	for i, k := range ks {
		out[i] = AuthAccessKey{k.ID, k.Kind, k.Name, append([]string{}, k.Roles...), k.ExpiresAt}
	}
	return out
}

func wireLine(l access.Line) AuthAccessLine {
	return AuthAccessLine{string(l.Person), append([]string{}, l.Roles...), l.Region, l.Active, l.Version, l.Since, l.By, string(l.Source), wireKeys(l.Keys)}
}

func wireList(l access.List) AuthAccessList {
	out := AuthAccessList{At: l.At, Complete: l.Complete, People: []AuthAccessLine{}, Former: []AuthAccessLine{}, SharedKeys: wireKeys(l.SharedKeys)}
	if !l.CompleteFrom.IsZero() {
		out.CompleteFrom = &l.CompleteFrom
	}
	for _, p := range l.People {
		out.People = append(out.People, wireLine(p))
	}
	for _, p := range l.Former {
		out.Former = append(out.Former, wireLine(p))
	}
	return out
}

// AuthAccessCampaign is one access review.
type AuthAccessCampaign struct {
	ID        string           `json:"id"`
	Title     string           `json:"title"`
	State     string           `json:"state" enum:"open,closed"`
	StartedBy string           `json:"started_by"`
	DueAt     time.Time        `json:"due_at"`
	Overdue   bool             `json:"overdue"`
	CreatedAt time.Time        `json:"created_at"`
	ClosedAt  *time.Time       `json:"closed_at,omitempty"`
	Open      int              `json:"open" doc:"People who are not settled"`
	Items     []AuthAccessItem `json:"items"`
}

// AuthAccessItem is one person's review.
type AuthAccessItem struct {
	Person    string     `json:"person"`
	Reviewer  string     `json:"reviewer" doc:"Who was asked"`
	Asked     []string   `json:"asked" doc:"Roles when the review began"`
	Roles     []string   `json:"roles" doc:"Roles now"`
	Active    bool       `json:"active"`
	Version   int64      `json:"version" doc:"Of the access now: what a decision names"`
	Verdict   string     `json:"verdict,omitempty" enum:"confirm,revoke,gone"`
	Keep      []string   `json:"keep"`
	Comment   string     `json:"comment,omitempty"`
	DecidedBy string     `json:"decided_by,omitempty"`
	DecidedAt *time.Time `json:"decided_at,omitempty"`
	Settled   bool       `json:"settled" doc:"Confirmed, or the roles that should go are gone"`
}

// AuthAccessDecided is a reviewer's word as it was written down.
type AuthAccessDecided struct {
	Campaign string `json:"campaign"`
	Person   string `json:"person"`
	Verdict  string `json:"verdict" enum:"confirm,revoke"`
	Approval string `json:"approval,omitempty" doc:"The approval that the change waits for"`
}

func wireCampaign(c access.Campaign) AuthAccessCampaign {
	out := AuthAccessCampaign{ID: c.ID.String(), Title: c.Title, State: c.State, StartedBy: c.StartedBy, DueAt: c.DueAt, Overdue: c.Overdue, CreatedAt: c.CreatedAt, Open: c.Open(), Items: []AuthAccessItem{}}
	if c.State == access.CampaignClosed {
		out.ClosedAt = &c.ClosedAt
	}
	for _, it := range c.Items {
		w := AuthAccessItem{string(it.Person), string(it.Reviewer), append([]string{}, it.Asked...), append([]string{}, it.Roles...), it.Active, it.Version, string(it.Verdict), append([]string{}, it.Keep...), it.Comment, string(it.DecidedBy), nil, it.Settled}
		if it.Verdict != access.Undecided {
			w.DecidedAt = &it.DecidedAt
		}
		out.Items = append(out.Items, w)
	}
	return out
}
