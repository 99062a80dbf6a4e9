package recorder

// Masks is a recorder's masking policy, for what else records the same sessions.
type Masks struct{ m *masker }

// Masks is the policy by which this recorder masks.
func (r *Recorder) Masks() Masks { return Masks{&r.mask} }

// Blobs is where this recorder keeps its chunks.
func (r *Recorder) Blobs() BlobStore { return r.blobs }

// Field tells whether the value of a field of that name is never recorded.
func (m Masks) Field(name string) bool { return m.m.field(name) }

// Hint tells whether an autocomplete attribute says so.
func (m Masks) Hint(autocomplete string) bool { return secretHint(autocomplete) }

// Text masks what has the shape of a secret, wherever it stands.
func (m Masks) Text(s string) string { return m.m.text(s) }

// Fields are the parts of names that mask, in lower case.
func (m Masks) Fields() []string { return append([]string(nil), m.m.fields...) }
