package siem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/internal/sharedtest"
	"github.com/reevehq/reeve/oversight/siem"
)

// schema is OCSF, read from the files that define it. It knows nothing of our events.
type schema struct {
	root       string
	types      map[string]typeDef
	attributes map[string]attribute
	categories map[string]int64
	captions   map[string]string // of categories
	objects    map[string]*shape
	classes    map[int64]*shape
	regexes    map[string]*regexp.Regexp
}

type typeDef struct {
	Regex  string  `json:"regex"`
	Type   string  `json:"type"`
	MaxLen int     `json:"max_len"`
	Range  []int64 `json:"range"`
}

type attribute struct {
	Type        string `json:"type"`
	IsArray     bool   `json:"is_array"`
	Requirement string `json:"requirement"`
	Sibling     string `json:"sibling"`
	Enum        map[string]struct {
		Caption string `json:"caption"`
	} `json:"enum"`
	Deprecated *struct {
		Since string `json:"since"`
	} `json:"@deprecated"`
	profile string
}

// shape is a class or an object with all that it inherits.
type shape struct {
	name, caption, category string
	uid                     int64
	attributes              map[string]attribute
	constraints             map[string][]string
}

func loadSchema(t testing.TB) *schema {
	t.Helper()
	s := &schema{root: sharedtest.Path(t, "ocsf"), objects: map[string]*shape{}, classes: map[int64]*shape{}, regexes: map[string]*regexp.Regexp{}}
	var dictionary struct {
		Attributes map[string]attribute `json:"attributes"`
		Types      struct {
			Attributes map[string]typeDef `json:"attributes"`
		} `json:"types"`
	}
	s.read(t, "dictionary.json", &dictionary)
	s.attributes, s.types = dictionary.Attributes, dictionary.Types.Attributes
	var categories struct {
		Attributes map[string]struct {
			UID     int64  `json:"uid"`
			Caption string `json:"caption"`
		} `json:"attributes"`
	}
	s.read(t, "categories.json", &categories)
	s.categories, s.captions = map[string]int64{}, map[string]string{}
	for name, c := range categories.Attributes {
		s.categories[name], s.captions[name] = c.UID, c.Caption
	}
	for dir, into := range map[string]func(*shape){
		"objects": func(sh *shape) { s.objects[sh.name] = sh },
		"events":  func(sh *shape) { s.classes[s.categories[sh.category]*1000+sh.uid] = sh },
	} {
		files := map[string]string{}
		require.NoError(t, filepath.WalkDir(filepath.Join(s.root, dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".json") {
				var head struct {
					Name    string `json:"name"`
					Extends string `json:"extends"`
				}
				rel, _ := filepath.Rel(s.root, path)
				s.read(t, rel, &head)
				files[head.Name] = rel
			}
			return err
		}))
		require.NotEmpty(t, files)
		for name := range files {
			sh := s.resolve(t, files, name)
			if dir == "objects" || sh.uid != 0 {
				into(sh)
			}
		}
	}
	return s
}

func (s *schema) read(t testing.TB, file string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.root, file))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, v), file)
}

func (s *schema) resolve(t testing.TB, files map[string]string, name string) *shape {
	t.Helper()
	require.Contains(t, files, name)
	var def struct {
		UID         int64                      `json:"uid"`
		Caption     string                     `json:"caption"`
		Category    string                     `json:"category"`
		Extends     string                     `json:"extends"`
		Constraints map[string][]string        `json:"constraints"`
		Attributes  map[string]json.RawMessage `json:"attributes"`
	}
	s.read(t, files[name], &def)
	sh := &shape{attributes: map[string]attribute{}}
	if def.Extends != "" {
		sh = s.resolve(t, files, def.Extends)
	}
	sh.name, sh.caption, sh.uid = name, def.Caption, def.UID
	if def.Category != "" {
		sh.category = def.Category
	}
	if def.Constraints != nil {
		sh.constraints = def.Constraints // a child's constraints take the place of its parent's
	}
	if raw, ok := def.Attributes["$include"]; ok {
		var includes []string
		require.NoError(t, json.Unmarshal(raw, &includes))
		for _, file := range includes {
			var profile struct {
				Name       string                     `json:"name"`
				Attributes map[string]json.RawMessage `json:"attributes"`
			}
			s.read(t, file, &profile)
			s.merge(t, sh, profile.Attributes, profile.Name)
		}
		delete(def.Attributes, "$include")
	}
	s.merge(t, sh, def.Attributes, "")
	return sh
}

func (s *schema) merge(t testing.TB, sh *shape, attributes map[string]json.RawMessage, profile string) {
	t.Helper()
	for name, raw := range attributes {
		a, have := sh.attributes[name]
		if !have {
			var known bool
			a, known = s.attributes[name]
			require.True(t, known, "%s is not in the dictionary", name)
			a.Enum = maps.Clone(a.Enum)
			a.profile = profile
		}
		enum := a.Enum
		a.Enum = nil
		require.NoError(t, json.Unmarshal(raw, &a))
		for k, v := range enum {
			if a.Enum == nil {
				a.Enum = map[string]struct {
					Caption string `json:"caption"`
				}{}
			}
			if _, own := a.Enum[k]; !own {
				a.Enum[k] = v
			}
		}
		var own map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(raw, &own))
		if p, ok := own["profile"]; ok && string(p) == "null" || have && profile == "" && a.profile != "" && ok {
			a.profile = ""
		}
		sh.attributes[name] = a
	}
}

// validate gives everything in which an event is not what its class says.
func (s *schema) validate(line []byte) error {
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.UseNumber()
	var ev map[string]any
	if err := d.Decode(&ev); err != nil {
		return err
	}
	class, ok := integer(ev["class_uid"])
	sh := s.classes[class]
	if !ok || sh == nil {
		return fmt.Errorf("class_uid %v is no class", ev["class_uid"])
	}
	activity, _ := integer(ev["activity_id"])
	typ, _ := integer(ev["type_uid"])
	category, _ := integer(ev["category_uid"])
	var errs []error
	if typ != class*100+activity {
		errs = append(errs, fmt.Errorf("type_uid %d is not class_uid*100+activity_id", typ))
	}
	if category != s.categories[sh.category] {
		errs = append(errs, fmt.Errorf("category_uid %d is not that of %s", category, sh.name))
	}
	for field, want := range map[string]string{"class_name": sh.caption, "category_name": s.captions[sh.category],
		"type_name": sh.caption + ": " + sh.attributes["activity_id"].Enum[fmt.Sprint(activity)].Caption} {
		if have, ok := ev[field]; ok && have != want {
			errs = append(errs, fmt.Errorf("%s is %q, want %q", field, have, want))
		}
	}
	var profiles []string
	if m, ok := ev["metadata"].(map[string]any); ok {
		if list, ok := m["profiles"].([]any); ok {
			for _, p := range list {
				profiles = append(profiles, fmt.Sprint(p))
			}
		}
	}
	return errors.Join(append(errs, s.object(sh, ev, "", profiles)...)...)
}

func integer(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

func (s *schema) object(sh *shape, obj map[string]any, at string, profiles []string) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s%s: %s", at, field, fmt.Sprintf(format, args...)))
	}
	for name, a := range sh.attributes {
		if a.Requirement == "required" && obj[name] == nil && (a.profile == "" || slices.Contains(profiles, a.profile)) {
			bad(name, "is required")
		}
	}
	for name, v := range obj {
		a, known := sh.attributes[name]
		switch {
		case !known:
			bad(name, "is no attribute of %s", sh.name)
			continue
		case a.profile != "" && !slices.Contains(profiles, a.profile):
			bad(name, "belongs to the profile %s, which the event does not have", a.profile)
			continue
		case a.Deprecated != nil && a.Deprecated.Since <= siem.SchemaVersion:
			bad(name, "is deprecated since %s", a.Deprecated.Since)
		}
		if !a.IsArray {
			errs = append(errs, s.value(sh, name, a, v, obj, at+name, profiles)...)
			continue
		}
		list, ok := v.([]any)
		if !ok {
			bad(name, "is no array")
		}
		for i, item := range list {
			errs = append(errs, s.value(sh, name, a, item, nil, fmt.Sprintf("%s%s[%d]", at, name, i), profiles)...)
		}
	}
	for kind, names := range sh.constraints {
		n := 0
		for _, name := range names {
			if obj[name] != nil {
				n++
			}
		}
		if kind == "at_least_one" && n == 0 || kind == "just_one" && n != 1 {
			bad("", "%s of %s: there are %d", kind, strings.Join(names, ", "), n)
		}
	}
	return errs
}

func (s *schema) value(sh *shape, name string, a attribute, v any, siblings map[string]any, at string, profiles []string) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
	}
	if a.Type == "json_t" || a.Type == "object" {
		return nil // anything at all
	}
	if o, ok := s.objects[a.Type]; ok {
		obj, ok := v.(map[string]any)
		if !ok {
			bad("is no object")
			return errs
		}
		return s.object(o, obj, at+".", profiles)
	}
	def, base := s.types[a.Type], a.Type
	if def.Type != "" {
		base = def.Type
	}
	switch base {
	case "string_t":
		text, ok := v.(string)
		if !ok {
			bad("is no text")
			return errs
		}
		if def.Regex != "" && !s.regex(def.Regex).MatchString(text) {
			bad("%q is no %s", text, a.Type)
		}
		if def.MaxLen > 0 && utf8.RuneCountInString(text) > def.MaxLen {
			bad("is longer than %d", def.MaxLen)
		}
	case "integer_t", "long_t":
		n, ok := integer(v)
		if !ok {
			bad("%v is no integer", v)
			return errs
		}
		if len(def.Range) == 2 && (n < def.Range[0] || n > def.Range[1]) {
			bad("%d is out of range", n)
		}
		if len(a.Enum) == 0 || name == "class_uid" || name == "category_uid" {
			break
		}
		e, known := a.Enum[fmt.Sprint(n)]
		if !known {
			bad("%d is none of %v", n, slices.Sorted(maps.Keys(a.Enum)))
			break
		}
		if caption, ok := siblings[a.Sibling]; ok && n != 99 && caption != e.Caption {
			bad("%d is %q, %s says %q", n, e.Caption, a.Sibling, caption)
		}
		if _, ok := siblings[a.Sibling]; !ok && n == 99 && siblings != nil {
			bad("is 99 and %s does not say what", a.Sibling)
		}
	case "boolean_t":
		if _, ok := v.(bool); !ok {
			bad("is neither true nor false")
		}
	case "float_t":
		if _, ok := v.(json.Number); !ok {
			bad("is no number")
		}
	default:
		bad("type %s of %s.%s is unknown", a.Type, sh.name, name)
	}
	return errs
}

func (s *schema) regex(expr string) *regexp.Regexp {
	if s.regexes[expr] == nil {
		s.regexes[expr] = regexp.MustCompile(expr)
	}
	return s.regexes[expr]
}

// TestSchemaVersion: events name a release, and the files they are validated against are
// of that release or of one that only adds to it. Files of a version still in the making
// say so in their name; no event may.
func TestSchemaVersion(t *testing.T) {
	t.Parallel()
	require.Regexp(t, `^1\.[0-9]+\.[0-9]+$`, siem.SchemaVersion)
	b, err := os.ReadFile(filepath.Join(sharedtest.Path(t, "ocsf"), "version.json"))
	require.NoError(t, err)
	var file struct {
		Version string `json:"version"`
	}
	require.NoError(t, json.Unmarshal(b, &file))
	release, making, _ := strings.Cut(file.Version, "-")
	var ours, theirs [3]int
	_, err = fmt.Sscanf(siem.SchemaVersion, "%d.%d.%d", &ours[0], &ours[1], &ours[2])
	require.NoError(t, err)
	_, err = fmt.Sscanf(release, "%d.%d.%d", &theirs[0], &theirs[1], &theirs[2])
	require.NoError(t, err)
	require.Equal(t, ours[0], theirs[0], "within a major version OCSF only adds")
	require.LessOrEqual(t, slices.Compare(ours[:], theirs[:]), 0)
	if making != "" { // the release before it is the newest there is
		require.NotEqual(t, release, siem.SchemaVersion, "%s is not released", release)
	}
}
