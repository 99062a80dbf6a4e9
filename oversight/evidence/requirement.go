package evidence

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight/evidence/pack"
	"github.com/reevehq/reeve/oversight/recorder"
)

// seen is one record of the period, and facts what the others say that bear on it.
type seen struct {
	governance.RecordView
	sealed bool
}

type facts struct {
	recorded map[string]bool     // sessions with chunks
	ended    map[string]bool     // sessions that ended
	packed   map[uuid.UUID]bool  // subjects of packs
	asked    map[string]*request // held actions
}

type request struct {
	persons []governance.PersonID // who asked, and whom they represented
	digest  governance.Digest
}

// requirement is one line of the report: of the records that it applies to, how many
// have what it asks for. None marks the lines where there should be no such record.
type requirement struct {
	key, framework, control, field, rule string
	none                                 bool
	applies                              func(r seen) bool
	has                                  func(r seen, f *facts) bool
}

func every(seen) bool            { return true }
func byPerson(r seen) bool       { return r.Actor.Person != "" }
func cast(r seen) bool           { return r.Action == "approval.vote" && r.Outcome == governance.OutcomeDone }
func opened(r seen) bool         { return r.Action == "impersonation.open" }
func approved(r seen) bool       { return r.Outcome == governance.OutcomeDone && len(approvers(r)) > 0 }
func refused(r seen) bool        { return r.Outcome == governance.OutcomeDenied }
func acked(r seen) bool          { return r.Action == "alert.ack" }
func who(r seen, _ *facts) bool  { return r.Actor.ID != "" }
func what(r seen, _ *facts) bool { return r.Action != "" }
func when(r seen, _ *facts) bool { return !r.At.IsZero() }
func how(r seen, _ *facts) bool  { return r.Outcome != "" }
func onWhat(r seen, _ *facts) bool {
	return r.Resource.Kind != "" && r.Resource.ID != ""
}
func where(r seen, _ *facts) bool { return r.Tenant != "" || r.Resource.Kind != "" }

// origin: an address, or the part of the server that acts by itself.
func origin(r seen, _ *facts) bool {
	switch r.Actor.Kind {
	case governance.ActorSystem, governance.ActorPlaybook, governance.ActorPlugin:
		return r.Actor.ID != ""
	}
	return r.Personal["ip"] != ""
}
func sealed(r seen, _ *facts) bool   { return r.sealed }
func person(r seen, _ *facts) bool   { return r.Actor.Person != "" }
func hasRoles(r seen, _ *facts) bool { return len(r.Actor.Roles) > 0 }
func bound(r seen, f *facts) bool {
	q := f.asked[r.ActionID]
	return q != nil && r.Digest != "" && q.digest == r.Digest
}
func own(r seen, f *facts) bool {
	q := f.asked[r.ActionID]
	return q != nil && slices.Contains(q.persons, r.Actor.Person)
}
func apart(r seen, _ *facts) bool { return !slices.Contains(approvers(r), r.Actor.Person) }
func packed(r seen, f *facts) bool {
	id, err := uuid.Parse(r.ActionID)
	return err == nil && f.packed[id]
}
func recorded(r seen, f *facts) bool { return f.recorded[r.ActionID] }
func closed(r seen, f *facts) bool   { return f.ended[r.ActionID] }
func reasoned(r seen, _ *facts) bool {
	var data struct {
		Why string `json:"why"`
	}
	return json.Unmarshal(r.Data, &data) == nil && data.Why != ""
}

func approvers(r seen) []governance.PersonID {
	var data struct {
		ApprovedBy []governance.PersonID `json:"approved_by"`
	}
	_ = json.Unmarshal(r.Data, &data) // other data has none
	return data.ApprovedBy
}

// changesAccess leaves out the policies that a product brings along: nobody chose them
// yet.
func changesAccess(r seen) bool {
	if r.Action == "policy.install" {
		return false
	}
	for _, prefix := range []string{"user.", "key.", "policy.", "role.", "group.", "invitation."} {
		if strings.HasPrefix(r.Action, prefix) {
			return true
		}
	}
	return false
}

// looks: somebody reads what was recorded.
func looks(r seen) bool {
	return slices.Contains([]string{"recording.watch", "evidence.take", "evidence.download", ActionCoverage, pack.ActionBuild}, r.Action)
}

// requirements are the lines of the report. Controls are cited by number; what a line
// counts is said in our own words.
func requirements() []requirement {
	const (
		pci, nist, iso, soc, hipaa = "PCI DSS 4.0", "NIST SP 800-53 r5", "ISO/IEC 27001:2022", "SOC 2", "HIPAA"
	)
	return []requirement{
		{"pci-user", pci, "10.2.2", "User", "the record names an actor", false, every, who},
		{"pci-type", pci, "10.2.2", "Type of event", "the record names an action", false, every, what},
		{"pci-time", pci, "10.2.2", "Date and time", "the record has a time", false, every, when},
		{"pci-outcome", pci, "10.2.2", "Success or failure", "the record has an outcome", false, every, how},
		{"pci-origin", pci, "10.2.2", "Origin", "an address stands in the record as a digest, or the actor is a part of the server", false, every, origin},
		{"pci-resource", pci, "10.2.2", "Affected resource", "the record names a thing by kind and id", false, every, onWhat},
		{"au3-a", nist, "AU-3 a", "What happened", "the record names an action", false, every, what},
		{"au3-b", nist, "AU-3 b", "When", "the record has a time", false, every, when},
		{"au3-c", nist, "AU-3 c", "Where", "the record names a tenant or a thing", false, every, where},
		{"au3-d", nist, "AU-3 d", "From where", "an address stands in the record as a digest, or the actor is a part of the server", false, every, origin},
		{"au3-e", nist, "AU-3 e", "How it ended", "the record has an outcome", false, every, how},
		{"au3-f", nist, "AU-3 f", "Who was involved", "the record names an actor, and a thing it was about", false, every, func(r seen, f *facts) bool { return who(r, f) && onWhat(r, f) }},
		{"au10-sealed", nist, "AU-10", "Acts of persons, sealed", "the record stands under a signed checkpoint", false, byPerson, sealed},
		{"au10-bound", nist, "AU-10", "Votes on the payload asked for", "the vote carries the digest of the request it decides on", false, cast, bound},
		{"au10-packs", nist, "AU-10", "Approved acts with a pack", "a pack of evidence was built about the act in the period", false, approved, packed},
		{"au14-recorded", nist, "AU-14", "Sessions with a recording", "a chunk of the recording stands in the ledger", false, opened, recorded},
		{"au14-ended", nist, "AU-14", "Sessions that ended", "the end of the session is recorded in the period", false, opened, closed},
		{"au14-packs", nist, "AU-14", "Sessions with a pack", "a pack of evidence was built about the session in the period", false, opened, packed},
		{"ac5-own", nist, "AC-5", "Decisions on one's own request", "the voter asked for it, or was represented by who did; there should be none", true, cast, own},
		{"ac5-apart", nist, "AC-5", "Approved acts decided by others", "the requester is not among those who approved", false, approved, apart},
		{"iso-user", iso, "A.8.15", "User", "the record names an actor", false, every, who},
		{"iso-activity", iso, "A.8.15", "Activity and outcome", "the record names an action and an outcome", false, every, func(r seen, f *facts) bool { return what(r, f) && how(r, f) }},
		{"iso-time", iso, "A.8.15", "Time", "the record has a time", false, every, when},
		{"iso-protected", iso, "A.8.15", "Protected from change", "the record stands under a signed checkpoint", false, every, sealed},
		{"cc6-role", soc, "CC6.1", "Acts of persons with their roles", "the roles held at the time stand in the record", false, byPerson, hasRoles},
		{"cc6-access", soc, "CC6.3", "Changes of access by a person", "the change of a user, key, role or policy names the person who made it; policies the product brings along are left out", false, changesAccess, person},
		{"cc7-refused", soc, "CC7.2", "Refusals with a reason", "the refusal says why", false, refused, reasoned},
		{"cc7-acked", soc, "CC7.3", "Alerts taken by a person", "the acknowledgement names a person", false, acked, person},
		{"hipaa-activity", hipaa, "164.312(b)", "Activity", "the record names actor, action and time", false, every, func(r seen, f *facts) bool { return who(r, f) && what(r, f) && when(r, f) }},
		{"hipaa-examined", hipaa, "164.312(b)", "Reading of recordings and evidence", "who looked is a person, named in the record", false, looks, person},
	}
}

func (f *facts) learn(r seen) {
	switch {
	case r.Action == recorder.ActionChunk:
		f.recorded[r.ActionID] = true
	case r.Action == "impersonation.end":
		f.ended[r.ActionID] = true
	case r.Action == pack.ActionBuild:
		if id, err := uuid.Parse(r.Resource.ID); err == nil {
			f.packed[id] = true
		}
	case r.Outcome == governance.OutcomeHeld:
		q := &request{digest: r.Digest}
		for _, a := range []*governance.Actor{&r.Actor, r.Subject} {
			if a != nil && a.Person != "" {
				q.persons = append(q.persons, a.Person)
			}
		}
		f.asked[r.ActionID] = q
	}
}
