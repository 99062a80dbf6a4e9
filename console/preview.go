package console

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// previewBlock is a part of a value shown to people: lines, or a table.
type previewBlock struct {
	Title string
	Facts []Fact
	Cols  []previewCol
	Rows  [][]string
	More  int // rows left out; the exact input has them
}

type previewCol struct {
	Title  string
	Number bool
}

const (
	previewRows = 12
	previewList = 6
)

// preview arranges any JSON for reading: single values as lines, lists of objects as
// tables. What it shortens stands whole in the exact input beside it.
func preview(raw json.RawMessage) []previewBlock {
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&v) != nil || v == nil {
		return nil
	}
	var out []previewBlock
	arrange(&out, "", v)
	return out
}

func arrange(out *[]previewBlock, title string, v any) {
	switch t := v.(type) {
	case map[string]any:
		at := len(*out)
		*out = append(*out, previewBlock{Title: title})
		for _, k := range sortedKeys(t) {
			if s, ok := single(t[k]); ok {
				if s != "" {
					(*out)[at].Facts = append((*out)[at].Facts, Fact{Label: Humanize(k), Value: s})
				}
				continue
			}
			arrange(out, strings.TrimPrefix(title+" · "+Humanize(k), " · "), t[k])
		}
		if len((*out)[at].Facts) == 0 {
			*out = slices.Delete(*out, at, at+1)
		}
	case []any:
		*out = append(*out, tabulate(title, t))
	default:
		s, _ := single(v)
		*out = append(*out, previewBlock{Title: title, Facts: []Fact{{Label: "Value", Value: s}}})
	}
}

// single writes a value that fits on a line: a scalar, money, or a short list.
func single(v any) (string, bool) {
	switch t := v.(type) {
	case nil:
		return "", true
	case string:
		if at, err := time.Parse(time.RFC3339, t); err == nil {
			return at.UTC().Format("2 Jan 2006, 15:04 UTC"), true
		}
		return t, true
	case json.Number:
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return FormatInt(n), true
		}
		return t.String(), true
	case bool:
		return plain(t), true
	case map[string]any:
		cur, a := t["currency"].(string)
		amount, b := t["amount"].(string)
		if a && b && len(t) == 2 {
			return cur + " " + groupDigits(amount), true
		}
		return "", len(t) == 0
	case []any:
		parts := make([]string, 0, len(t))
		for _, e := range t {
			if len(parts) == previewList {
				parts = append(parts, "and "+strconv.Itoa(len(t)-previewList)+" more")
				break
			}
			switch e.(type) {
			case map[string]any, []any:
				return "", false
			}
			s, _ := single(e)
			parts = append(parts, s)
		}
		return strings.Join(parts, ", "), true
	}
	return "", false
}

func tabulate(title string, list []any) previewBlock {
	b := previewBlock{Title: title}
	keys := map[string]any{}
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			for k := range m {
				keys[k] = nil
			}
		}
	}
	names := sortedKeys(keys)
	if len(names) == 0 { // a list of lists
		names = []string{"value"}
	}
	for _, k := range names {
		b.Cols = append(b.Cols, previewCol{Title: Humanize(k), Number: true})
	}
	for _, e := range list {
		if len(b.Rows) == previewRows {
			b.More = len(list) - previewRows
			break
		}
		m, ok := e.(map[string]any)
		if !ok {
			m = map[string]any{"value": e}
		}
		row := make([]string, len(names))
		for i, k := range names {
			row[i] = cell(m[k])
			switch m[k].(type) {
			case json.Number, nil:
			default:
				b.Cols[i].Number = false
			}
		}
		b.Rows = append(b.Rows, row)
	}
	return b
}

// cell writes a value into a table; what has parts is written as JSON, and cut.
func cell(v any) string {
	if s, ok := single(v); ok {
		return s
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	s := string(raw)
	if r := []rune(s); len(r) > 60 {
		s = string(r[:59]) + "…"
	}
	return s
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
