package evidenceapi

import (
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight/evidence"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// EvidenceOutline says what a pack would hold.
type EvidenceOutline struct {
	Kind       string              `json:"kind"`
	Subject    uuid.UUID           `json:"subject"`
	Tenant     governance.TenantID `json:"tenant,omitempty"`
	Name       string              `json:"name" doc:"Name of the action"`
	Actions    int                 `json:"actions"`
	Votes      int                 `json:"votes"`
	Policies   int                 `json:"policies"`
	Records    int                 `json:"records"`
	Alerts     int                 `json:"alerts"`
	Chunks     int                 `json:"chunks"`
	ChunkBytes int64               `json:"chunk_bytes"`
	Missing    int                 `json:"missing" doc:"Chunks that are not in the store any more"`
	Personal   int                 `json:"personal" doc:"Personal values still kept"`
	Erased     int                 `json:"erased"`
	Withheld   []string            `json:"withheld" doc:"What you may not read and so cannot put in"`
}

// EvidencePack is a pack that was built.
type EvidencePack struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	Subject   string    `json:"subject"`
	Tenant    string    `json:"tenant,omitempty"`
	Name      string    `json:"name"`
	Reason    string    `json:"reason"`
	State     string    `json:"state" enum:"building,ready,failed,expired,erased"`
	Disclosed int       `json:"disclosed" doc:"Personal values in it"`
	Records   int64     `json:"records"`
	Files     int64     `json:"files"`
	Bytes     int64     `json:"bytes"`
	SHA256    string    `json:"sha256"`
	Content   string    `json:"content" doc:"Digest that the ledger carries"`
	Record    string    `json:"record" doc:"Ledger record that it was built"`
	MadeBy    string    `json:"made_by"`
	MadeAt    time.Time `json:"made_at"`
	ExpiresAt time.Time `json:"expires_at" doc:"It can be downloaded until then"`
}

func wirePack(p evidence.Pack) EvidencePack {
	return EvidencePack{p.ID.String(), p.Kind, p.Subject.String(), string(p.Tenant), p.Name, p.Reason, string(p.State), p.Disclosed, p.Records, p.Files, p.Bytes, p.SHA256, p.Content,
		p.Record.String(), p.MadeBy, p.MadeAt, p.ExpiresAt}
}

// EvidenceVerification is what checking a pack found.
type EvidenceVerification struct {
	Holds      bool              `json:"holds"`
	ID         string            `json:"id"`
	Kind       string            `json:"kind"`
	Subject    string            `json:"subject"`
	MadeAt     time.Time         `json:"made_at"`
	MadeBy     string            `json:"made_by"`
	Software   string            `json:"software"`
	Log        string            `json:"log"`
	TreeSize   int64             `json:"tree_size"`
	Signatures int               `json:"signatures" doc:"Of others on the checkpoint"`
	Files      int               `json:"files"`
	Records    int               `json:"records"`
	Votes      int               `json:"votes"`
	Chunks     int               `json:"chunks"`
	Requests   int               `json:"requests"`
	Problems   []EvidenceProblem `json:"problems"`
	Notes      []string          `json:"notes"`
	Cosigned   []string          `json:"cosigned" doc:"Witnesses of this server whose signatures on the checkpoint hold"`
}

// EvidenceProblem is one thing about a pack that does not hold.
type EvidenceProblem struct {
	Place string `json:"place" doc:"The file or the record"`
	Why   string `json:"why"`
}

func wireReport(r pack.Report) EvidenceVerification {
	out := EvidenceVerification{len(r.Problems) == 0, r.ID, r.Subject.Kind, r.Subject.ID, r.MadeAt, r.MadeBy, r.Software, r.Log, r.TreeSize, r.Signatures, r.Files, r.Records, r.Votes, r.Chunks,
		r.Requests, []EvidenceProblem{}, r.Notes, []string{}}
	for _, c := range r.Cosigned {
		out.Cosigned = append(out.Cosigned, c.Witness)
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, EvidenceProblem(p))
	}
	return out
}

// EvidenceCoverage is what the records of a period carry.
type EvidenceCoverage struct {
	From    time.Time             `json:"from"`
	Until   time.Time             `json:"until"`
	MadeAt  time.Time             `json:"made_at"`
	Log     string                `json:"log"`
	Size    int64                 `json:"size" doc:"Of the newest checkpoint"`
	Records int64                 `json:"records"`
	Foreign int64                 `json:"foreign" doc:"Records of other programs, not read"`
	Rows    []EvidenceCoverageRow `json:"rows"`
}

// EvidenceCoverageRow is one field of one control.
type EvidenceCoverageRow struct {
	Key       string   `json:"key"`
	Framework string   `json:"framework"`
	Control   string   `json:"control"`
	Field     string   `json:"field"`
	Rule      string   `json:"rule" doc:"When a record counts"`
	Have      int64    `json:"have"`
	Of        int64    `json:"of"`
	Expected  string   `json:"expected" enum:"all,none"`
	Examples  []string `json:"examples" doc:"The first records that are not as expected"`
}

func wireCoverage(c evidence.Coverage) EvidenceCoverage {
	out := EvidenceCoverage{c.From, c.Until, c.MadeAt, c.Log, c.Size, c.Records, c.Foreign, []EvidenceCoverageRow{}}
	for _, r := range c.Rows {
		row := EvidenceCoverageRow{r.Key, r.Framework, r.Control, r.Field, r.Rule, r.Have, r.Of, "all", []string{}}
		if r.None {
			row.Expected = "none"
		}
		for _, id := range r.Examples {
			row.Examples = append(row.Examples, id.String())
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// EvidenceRecord is a record that a number was counted from.
type EvidenceRecord struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Action   string    `json:"action"`
	Outcome  string    `json:"outcome"`
	Tenant   string    `json:"tenant,omitempty"`
	Resource string    `json:"resource,omitempty"`
	Actor    string    `json:"actor"`
}
