package govapi

import "github.com/reevehq/reeve/governance/ledger"

// GovSequenceProof shows that its records are all those of a tenant between two
// checkpoints: what reeve-verify tenant reads.
type GovSequenceProof struct {
	Tenant  string              `json:"tenant"`
	From    *GovSequenceState   `json:"from,omitempty" doc:"Absent: from the beginning"`
	To      GovSequenceState    `json:"to"`
	Records []GovSequenceRecord `json:"records"`
	Keys    string              `json:"keys,omitempty" doc:"Statements by which the log went from one key to the next"`
}

// GovSequenceState is a signed head with what it says of the tenant.
type GovSequenceState struct {
	Checkpoint string           `json:"checkpoint"`
	Head       *GovSequenceHead `json:"head,omitempty" doc:"Absent: no record of the tenant yet"`
	Bucket     [][]string       `json:"bucket,omitempty"`
	Path       []string         `json:"path"`
}

// GovSequenceHead is how far the tenant's own sequence has come.
type GovSequenceHead struct {
	Tenant string `json:"tenant"`
	Seq    int64  `json:"seq"`
	N      int64  `json:"n" doc:"The leaf of its last record"`
	Chain  string `json:"chain"`
}

// GovSequenceRecord is a record of the tenant with its path to the head.
type GovSequenceRecord struct {
	Body string   `json:"body" doc:"The leaf, byte for byte"`
	N    int64    `json:"n"`
	Path []string `json:"path"`
	// Checkpoint is that of the whole proof.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// GovErased is the result of an erasure.
type GovErased struct {
	Fields int `json:"fields" doc:"How many values were erased"`
}

// GovResumed is the result of a resumption.
type GovResumed struct {
	StoppedBy string `json:"stopped_by" doc:"What had stopped signing"`
	Finding   string `json:"finding" doc:"How it was found out that it was wrong"`
}

func wireSequenceProof(p ledger.TenantProof) GovSequenceProof {
	out := GovSequenceProof{Tenant: p.Tenant, To: wireSequenceState(p.To), Records: make([]GovSequenceRecord, len(p.Records)), Keys: p.Keys}
	if p.From != nil {
		from := wireSequenceState(*p.From)
		out.From = &from
	}
	for i, r := range p.Records {
		out.Records[i] = GovSequenceRecord{Body: r.Body, N: r.N, Path: r.Path}
	}
	return out
}

func wireSequenceState(s ledger.TenantState) GovSequenceState {
	out := GovSequenceState{Checkpoint: s.Checkpoint, Path: s.Path}
	for _, pair := range s.Bucket {
		out.Bucket = append(out.Bucket, pair[:])
	}
	if s.Head != nil {
		out.Head = &GovSequenceHead{s.Head.Tenant, s.Head.Seq, s.Head.N, s.Head.Chain.String()}
	}
	return out
}
