package siem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// SchemaVersion is the version of OCSF that events are written in.
const SchemaVersion = "1.8.0"

// The OCSF classes that events have.
const (
	ClassAuthorizeSession = 3003
	ClassEntityManagement = 3004
	ClassAPIActivity      = 6003
	ClassDetectionFinding = 2004
)

// Event is one OCSF event. Fields are in OCSF's own words.
type Event struct {
	ActivityID   int    `json:"activity_id"`
	ActivityName string `json:"activity_name"`
	CategoryUID  int    `json:"category_uid"`
	CategoryName string `json:"category_name"`
	ClassUID     int    `json:"class_uid"`
	ClassName    string `json:"class_name"`
	TypeUID      int64  `json:"type_uid"`
	TypeName     string `json:"type_name"`
	SeverityID   int    `json:"severity_id"`
	Severity     string `json:"severity"`
	StatusID     int    `json:"status_id"`
	Status       string `json:"status"`
	StatusCode   string `json:"status_code,omitempty"`
	StatusDetail string `json:"status_detail,omitempty"`
	Time         int64  `json:"time"` // milliseconds since 1970
	Message      string `json:"message,omitempty"`

	Metadata Metadata `json:"metadata"`

	Actor       *Actor    `json:"actor,omitempty"`
	User        *User     `json:"user,omitempty"`       // Authorize Session: who got the session
	Session     *Session  `json:"session,omitempty"`    // Authorize Session
	Privileges  []string  `json:"privileges,omitempty"` // Authorize Session
	Entity      *Entity   `json:"entity,omitempty"`     // Entity Management
	Comment     string    `json:"comment,omitempty"`    // Entity Management
	API         *API      `json:"api,omitempty"`        // API Activity
	SrcEndpoint *Endpoint `json:"src_endpoint,omitempty"`

	FindingInfo *FindingInfo `json:"finding_info,omitempty"` // Detection Finding
	IsAlert     *bool        `json:"is_alert,omitempty"`     // Detection Finding
	Resources   []Resource   `json:"resources,omitempty"`    // API Activity, Detection Finding

	RawData     string       `json:"raw_data,omitempty"` // the leaf, byte for byte
	RawDataHash *Fingerprint `json:"raw_data_hash,omitempty"`
	RawDataSize int64        `json:"raw_data_size,omitempty"`
	Unmapped    *Unmapped    `json:"unmapped,omitempty"`
}

// Metadata says where an event comes from.
type Metadata struct {
	Version        string  `json:"version"`
	Product        Product `json:"product"`
	UID            string  `json:"uid,omitempty"`      // the record's id
	Sequence       *int64  `json:"sequence,omitempty"` // the leaf: the order of the log, whatever clocks said
	EventCode      string  `json:"event_code,omitempty"`
	LogName        string  `json:"log_name,omitempty"`
	OriginalTime   string  `json:"original_time,omitempty"`
	CorrelationUID string  `json:"correlation_uid,omitempty"`
	TenantUID      string  `json:"tenant_uid,omitempty"`
	IsTruncated    bool    `json:"is_truncated,omitempty"`
	UntruncatedLen int     `json:"untruncated_size,omitempty"`
}

// Product is the program that made an event.
type Product struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name"`
	Version string `json:"version,omitempty"`
}

// Actor is who really acted.
type Actor struct {
	User           User            `json:"user"`
	Session        *Session        `json:"session,omitempty"`
	Authorizations []Authorization `json:"authorizations,omitempty"`
}

// User is an account.
type User struct {
	UID    string  `json:"uid"`
	UIDAlt string  `json:"uid_alt,omitempty"` // the person behind the account
	Type   string  `json:"type,omitempty"`
	TypeID int     `json:"type_id"`
	Groups []Group `json:"groups,omitempty"` // roles at the time
}

// Group is a role.
type Group struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
}

// Session is an impersonation session.
type Session struct {
	UID string `json:"uid"`
}

// Authorization is what one policy said.
type Authorization struct {
	Decision string  `json:"decision"`
	Policy   *Policy `json:"policy,omitempty"`
}

// Policy is a policy by which was decided.
type Policy struct {
	UID     string `json:"uid"`
	Version string `json:"version,omitempty"`
}

// Entity is what was changed.
type Entity struct {
	UID  string `json:"uid"`
	Type string `json:"type,omitempty"`
}

// API names an operation.
type API struct {
	Operation string   `json:"operation"`
	Service   *Svc     `json:"service,omitempty"`
	Request   *Request `json:"request,omitempty"`
}

// Svc is the part of the product that an operation belongs to.
type Svc struct {
	Name string `json:"name"`
}

// Request is the HTTP request behind an act.
type Request struct {
	UID string `json:"uid"`
}

// Endpoint is where a call came from. UID is the salted digest of its address.
type Endpoint struct {
	UID     string `json:"uid,omitempty"`
	SvcName string `json:"svc_name,omitempty"`
}

// FindingInfo is an alert.
type FindingInfo struct {
	UID          string   `json:"uid"`
	Title        string   `json:"title,omitempty"`
	Desc         string   `json:"desc,omitempty"`
	Types        []string `json:"types,omitempty"`
	CreatedTime  int64    `json:"created_time,omitempty"`
	FirstSeen    int64    `json:"first_seen_time,omitempty"`
	LastSeen     int64    `json:"last_seen_time,omitempty"`
	ModifiedTime int64    `json:"modified_time,omitempty"`
	SrcURL       string   `json:"src_url,omitempty"`
}

// Resource is what was affected.
type Resource struct {
	UID  string `json:"uid"`
	Type string `json:"type,omitempty"`
}

// Fingerprint is a hash.
type Fingerprint struct {
	AlgorithmID int    `json:"algorithm_id"`
	Algorithm   string `json:"algorithm"`
	Value       string `json:"value"`
}

// Unmapped keeps what OCSF 1.8.0 has no word for.
type Unmapped struct {
	Record    *RecordRest     `json:"record,omitempty"`
	Subject   *Represented    `json:"subject,omitempty"`
	Integrity *Integrity      `json:"record_integrity,omitempty"`
	Alert     *AlertRest      `json:"alert,omitempty"`
	Body      json.RawMessage `json:"body,omitempty"` // of a record that is not the kernel's
}

// RecordRest is the rest of a ledger record.
type RecordRest struct {
	Kind         string            `json:"kind"`
	Outcome      string            `json:"outcome,omitempty"`
	Reason       string            `json:"reason,omitempty"`
	Ticket       string            `json:"ticket,omitempty"`
	Resource     string            `json:"resource,omitempty"`
	Action       string            `json:"action_id,omitempty"`
	ActionDigest string            `json:"action_digest,omitempty"`
	Causation    string            `json:"causation,omitempty"`
	Depth        int               `json:"depth,omitempty"`
	Bootstrap    bool              `json:"bootstrap,omitempty"`
	Personal     map[string]string `json:"personal,omitempty"` // field to salted digest
	Data         json.RawMessage   `json:"data,omitempty"`
}

// Represented is the identity on whose behalf an impersonating actor acted. It never
// acts.
type Represented struct {
	UID    string   `json:"uid"`
	Type   string   `json:"type,omitempty"`
	Person string   `json:"person,omitempty"`
	Roles  []string `json:"roles,omitempty"`
}

// Integrity names a record's place in the log that proves it. It is named after the
// profile record_integrity of OCSF 1.9.0, whose attestations are over a whole event; this
// fingerprint is of raw_data, which is the leaf.
type Integrity struct {
	ChainUID    string      `json:"chain_uid"` // the log's origin
	Leaf        int64       `json:"leaf"`
	Fingerprint Fingerprint `json:"fingerprint"`
}

// AlertRest is the rest of an alert.
type AlertRest struct {
	Key     string `json:"key"`
	State   string `json:"state"`
	Times   int64  `json:"times"`
	AckedBy string `json:"acked_by,omitempty"`
	Links   []Link `json:"links,omitempty"`
}

// Link is where an alert leads.
type Link struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	URL  string `json:"url,omitempty"`
}

// Encode writes the event as one line of JSON in ASCII, without its end. Everything
// else is escaped: no reader, however naive, can see a line end, a control character or
// a character that turns the direction of text inside it.
func (e Event) Encode() ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", e.Metadata.UID, err)
	}
	return ascii(b), nil
}

// ascii escapes what is not printable ASCII. In JSON it stands in strings only.
func ascii(b []byte) []byte {
	if bytes.IndexFunc(b, func(r rune) bool { return r >= 0x7f }) < 0 {
		return b
	}
	out := make([]byte, 0, len(b)+len(b)/4)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// shown is a text for people's eyes: what has no shape, or changes the shape of its
// neighbours, is written out.
func shown(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxShown {
			b.WriteString("…")
			break
		}
		if r == utf8.RuneError || r != ' ' && !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

const maxShown = 1000

// Shrink makes the event's line fit into limit bytes by leaving out, in this order, the
// leaf, the data of the record, and the ends of long texts. What is left names the
// record and its digest, by which the whole can be had.
func (e Event) Shrink(limit int) ([]byte, error) {
	whole, err := e.Encode()
	if err != nil || len(whole) <= limit {
		return whole, err
	}
	e.Metadata.IsTruncated, e.Metadata.UntruncatedLen = true, len(whole)
	e.RawData = ""
	for step := 0; ; step++ {
		line, err := e.Encode()
		if err != nil || len(line) <= limit {
			return line, err
		}
		switch step {
		case 0:
			if e.Unmapped != nil {
				u := *e.Unmapped
				u.Body = nil
				if u.Record != nil {
					r := *u.Record
					r.Data = nil
					u.Record = &r
				}
				e.Unmapped = &u
			}
		case 1:
			e = e.clipped(120)
		case 2:
			e = e.clipped(24)
		default:
			return nil, fmt.Errorf("event %s: %d bytes do not fit into %d", e.Metadata.UID, len(line), limit)
		}
	}
}

// clipped cuts every text that somebody may have written long.
func (e Event) clipped(n int) Event {
	cut := func(s string) string { return cutTo(s, n) }
	e.Message, e.Comment, e.StatusDetail = cut(e.Message), cut(e.Comment), cut(e.StatusDetail)
	e.Status, e.StatusCode = cut(e.Status), cut(e.StatusCode)
	e.Metadata.EventCode, e.Metadata.TenantUID, e.Metadata.CorrelationUID, e.Metadata.LogName = cut(e.Metadata.EventCode), cut(e.Metadata.TenantUID), cut(e.Metadata.CorrelationUID), cut(e.Metadata.LogName)
	if e.Actor != nil {
		a := *e.Actor
		a.User = a.User.clipped(n)
		a.Authorizations = nil
		if a.Session != nil {
			a.Session = &Session{cut(a.Session.UID)}
		}
		e.Actor = &a
	}
	if e.User != nil {
		u := e.User.clipped(n)
		e.User = &u
	}
	if e.Session != nil {
		e.Session = &Session{cut(e.Session.UID)}
	}
	if e.Entity != nil {
		e.Entity = &Entity{cut(e.Entity.UID), cut(e.Entity.Type)}
	}
	if e.API != nil {
		a := *e.API
		a.Operation = cut(a.Operation)
		if a.Request != nil {
			a.Request = &Request{cut(a.Request.UID)}
		}
		e.API = &a
	}
	var ps []string
	for _, p := range e.Privileges[:min(len(e.Privileges), 3)] {
		ps = append(ps, cut(p))
	}
	e.Privileges = ps
	var rs []Resource
	for _, r := range e.Resources[:min(len(e.Resources), 3)] {
		rs = append(rs, Resource{cut(r.UID), cut(r.Type)})
	}
	e.Resources = rs
	if e.SrcEndpoint != nil {
		e.SrcEndpoint = &Endpoint{cutTo(e.SrcEndpoint.UID, max(n, 80)), cut(e.SrcEndpoint.SvcName)}
	}
	if e.FindingInfo != nil {
		f := *e.FindingInfo
		f.Title, f.Desc, f.SrcURL, f.Types = cut(f.Title), cut(f.Desc), "", nil
		e.FindingInfo = &f
	}
	if e.Unmapped != nil {
		u := *e.Unmapped
		u.Record, u.Alert = nil, nil // the digest leads to the one, the finding's uid to the other
		if u.Subject != nil {
			u.Subject = &Represented{UID: cut(u.Subject.UID), Type: cut(u.Subject.Type), Person: cut(u.Subject.Person)}
		}
		e.Unmapped = &u
	}
	return e
}

func (u User) clipped(n int) User {
	u.UID, u.UIDAlt, u.Type, u.Groups = cutTo(u.UID, n), cutTo(u.UIDAlt, n), cutTo(u.Type, n), nil
	return u
}

// cutTo keeps the first n characters.
func cutTo(s string, n int) string {
	i := 0
	for at := range s {
		if i++; i > n {
			return s[:at]
		}
	}
	return s
}
