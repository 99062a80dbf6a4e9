package celrules

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// Type is the type of a variable. The zero value is refused.
type Type struct {
	cel    *cel.Type
	elem   *Type
	fields map[string]Type
}

// String is text; any Go string type.
func String() Type { return Type{cel: cel.StringType} }

// Int is a 64-bit integer; any signed Go integer.
func Int() Type { return Type{cel: cel.IntType} }

// Double is a floating-point number.
func Double() Type { return Type{cel: cel.DoubleType} }

// Bool is true or false.
func Bool() Type { return Type{cel: cel.BoolType} }

// Timestamp is a time.Time.
func Timestamp() Type { return Type{cel: cel.TimestampType} }

// Duration is a time.Duration.
func Duration() Type { return Type{cel: cel.DurationType} }

// Dyn is checked only when it is evaluated: decoded JSON, for one.
func Dyn() Type { return Type{cel: cel.DynType} }

// List is a Go slice of elem.
func List(elem Type) Type { return Type{elem: &elem, cel: listOf(elem)} }

// Map is a Go map from text to elem. A missing key is an evaluation error.
func Map(elem Type) Type { return Type{elem: &elem, cel: mapOf(elem)} }

// Object is a Go map[string]any with exactly these fields. Any other field in an
// expression does not compile.
func Object(fields map[string]Type) Type { return Type{fields: fields} }

func listOf(elem Type) *cel.Type {
	if elem.cel == nil {
		return nil
	}
	return cel.ListType(elem.cel)
}

func mapOf(elem Type) *cel.Type {
	if elem.cel == nil {
		return nil
	}
	return cel.MapType(cel.StringType, elem.cel)
}

// objects gives each Object a nominal type, so that the checker knows its fields,
// while the values stay plain maps.
type objects struct {
	*types.Registry
	byName map[string]map[string]*cel.Type
}

// resolve is t as the checker knows it; name is the path of the variable.
func (o *objects) resolve(name string, t Type) (*cel.Type, bool) {
	if t.fields == nil {
		if t.elem != nil && t.elem.fields != nil { // a list or map of objects
			elem, ok := o.resolve(name+".item", *t.elem)
			if !ok {
				return nil, false
			}
			return cel.ListType(elem), true
		}
		return t.cel, t.cel != nil
	}
	fields := make(map[string]*cel.Type, len(t.fields))
	for f, ft := range t.fields {
		c, ok := o.resolve(name+"."+f, ft)
		if !ok {
			return nil, false
		}
		fields[f] = c
	}
	o.byName["reeve."+name] = fields
	return cel.ObjectType("reeve." + name), true
}

// FindStructType implements types.Provider.
func (o *objects) FindStructType(name string) (*types.Type, bool) {
	if _, ok := o.byName[name]; ok {
		return types.NewTypeTypeWithParam(cel.ObjectType(name)), true
	}
	return o.Registry.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (o *objects) FindStructFieldNames(name string) ([]string, bool) {
	fields, ok := o.byName[name]
	if !ok {
		return o.Registry.FindStructFieldNames(name)
	}
	names := make([]string, 0, len(fields))
	for f := range fields {
		names = append(names, f)
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (o *objects) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, ok := o.byName[name]
	if !ok {
		return o.Registry.FindStructFieldType(name, field)
	}
	t, ok := fields[field]
	if !ok {
		return nil, false
	}
	return &types.FieldType{Type: t}, true
}
