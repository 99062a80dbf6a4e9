package explorer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

// Subjects lists whom the ledger keeps personal values about, by name, after a name.
func (s *Service) Subjects(ctx context.Context, id governance.Identity, prefix, after string, limit int) ([]ledger.SubjectKeys, error) {
	if err := s.may(ctx, id); err != nil {
		return nil, err
	}
	if err := s.k.LogRead(ctx, id, "subjects"); err != nil {
		return nil, err
	}
	return s.k.Ledger().Subjects(ctx, prefix, after, int64(limit))
}

// Subject counts what is kept about one.
func (s *Service) Subject(ctx context.Context, id governance.Identity, subject string) (ledger.SubjectKeys, error) {
	if err := s.may(ctx, id); err != nil {
		return ledger.SubjectKeys{}, err
	}
	if err := s.k.LogRead(ctx, id, "subjects"); err != nil {
		return ledger.SubjectKeys{}, err
	}
	return s.k.Ledger().SubjectOf(ctx, subject)
}

// Erasure is one record under which values were erased.
type Erasure struct {
	governance.RecordView
	Values  int64
	Basis   string
	Subject string // whom they were about, as the guarded action says
}

// Erasures lists what was erased, the newest first, before an id when it is not nil.
func (s *Service) Erasures(ctx context.Context, id governance.Identity, before uuid.UUID, limit int) ([]Erasure, error) {
	if err := s.may(ctx, id); err != nil {
		return nil, err
	}
	if err := s.k.LogRead(ctx, id, "erasures"); err != nil {
		return nil, err
	}
	rows, err := s.k.Ledger().Erasures(ctx, before, int64(limit))
	if err != nil {
		return nil, err
	}
	out := make([]Erasure, 0, len(rows))
	for _, r := range rows {
		v, err := governance.ReadRecord(r.Record.Body)
		if err != nil {
			return nil, err
		}
		e := Erasure{RecordView: v, Values: r.Values}
		if e.Basis, err = stringIn(v.Data, "basis"); err != nil {
			return nil, err
		}
		if action, err := uuid.Parse(v.ActionID); err == nil {
			if a, err := s.k.Action(ctx, action); err == nil {
				e.Subject = strings.TrimPrefix(a.Resource, "data-subject/")
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func stringIn(data json.RawMessage, field string) (string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return "", fmt.Errorf("record of an erasure: %w", err)
	}
	var text string
	if raw, ok := fields[field]; ok {
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", fmt.Errorf("record of an erasure: %s: %w", field, err)
		}
	}
	return text, nil
}
