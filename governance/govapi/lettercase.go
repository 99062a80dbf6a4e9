package govapi

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// otherCase begins the error about a name that differs from the document's in the case
// of its letters alone; what follows is its place.
const otherCase = "other letter case at "

// checkCase refuses names that encoding/json would take for a field although they are
// written in other letters: whoever checks the body by its exact names, a proxy or a
// human being, reads something else than we do.
func checkCase(data []byte, v any) error {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() == reflect.Interface { // the reading that is compared with the schema
		return nil
	}
	var parsed any
	if json.Unmarshal(data, &parsed) != nil {
		return nil // it is told as what it is
	}
	if at := caseFault("body", parsed, t.Elem()); at != "" {
		return errors.New(otherCase + at)
	}
	return nil
}

// caseFault is the first place of such a name, or empty.
func caseFault(at string, v any, t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for _, own := range []reflect.Type{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if reflect.PointerTo(t).Implements(own) {
			return "" // it reads itself
		}
	}
	switch v := v.(type) {
	case map[string]any:
		var of func(name string) (reflect.Type, string)
		switch t.Kind() {
		case reflect.Struct:
			fields := jsonFields(t)
			of = func(name string) (reflect.Type, string) {
				if ft, ok := fields[name]; ok {
					return ft, name
				}
				for have, ft := range fields {
					if strings.EqualFold(have, name) {
						return ft, have
					}
				}
				return nil, ""
			}
		case reflect.Map:
			of = func(name string) (reflect.Type, string) { return t.Elem(), name }
		default:
			return ""
		}
		for name, item := range v {
			ft, have := of(name)
			if ft == nil {
				continue
			}
			if have != name {
				return at + "." + have
			}
			if fault := caseFault(at+"."+have, item, ft); fault != "" {
				return fault
			}
		}
	case []any:
		if t.Kind() != reflect.Slice && t.Kind() != reflect.Array {
			return ""
		}
		for i, item := range v {
			if fault := caseFault(fmt.Sprintf("%s[%d]", at, i), item, t.Elem()); fault != "" {
				return fault
			}
		}
	}
	return ""
}

// fieldsOf has the jsonFields of each type that was asked for: there are as many as wire
// types.
var fieldsOf sync.Map

// jsonFields are the names that encoding/json knows of a struct, with their types.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	if known, ok := fieldsOf.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	out := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out[name] = f.Type
	}
	fieldsOf.Store(t, out)
	return out
}
