package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// Signature is what a voter's authenticator signed, with the record of the vote.
type Signature struct {
	Record string    `json:"record"`
	Signed Assertion `json:"signed"`
}

// Assertion is the signature of one vote (WebAuthn), byte for byte.
type Assertion struct {
	Key               string `json:"key"`        // id under which the records speak of it
	Credential        string `json:"credential"` // the authenticator's own id of it, base64url
	PublicKey         []byte `json:"public_key"` // COSE
	RPID              string `json:"rp_id"`
	Nonce             string `json:"nonce"`
	AuthenticatorData []byte `json:"authenticator_data"`
	ClientData        []byte `json:"client_data"`
	Signature         []byte `json:"signature"`
}

// committed is what the record of a vote says of its signature.
type committed struct {
	Key        string `json:"key"`
	Credential string `json:"credential"`
	Assertion  string `json:"assertion"`
	PublicKey  string `json:"public_key"`
}

func signaturesName(action string) string { return "actions/" + action + "/signatures.json" }

// signatures reads what the voters signed, by the record of the vote. There is no such
// file where nobody signed.
func (c *actionCheck) signatures() {
	c.signed = map[string]Assertion{}
	name := signaturesName(c.id)
	if _, ok := c.files[name]; !ok {
		return
	}
	var all []Signature
	if !c.file(name, &all) {
		return
	}
	for _, s := range all {
		if _, twice := c.signed[s.Record]; twice || c.votes[s.Record] == nil {
			c.bad(name, "has a signature for record %s, which is no vote on action %s, or has one", s.Record, c.id)
			continue
		}
		c.signed[s.Record] = s.Signed
	}
}

// signature says why a vote does not count as far as its signature goes, or is empty.
func (c *actionCheck) signature(vote Vote, r *record) string {
	var data struct {
		Signature *committed `json:"signature"`
	}
	_ = json.Unmarshal(r.Data, &data)
	a, here := c.signed[r.ID]
	switch {
	case data.Signature == nil && here:
		return "it has a signature that its record does not speak of"
	case data.Signature == nil && vote.Decision == "approve" && c.wantsSigned():
		return "the policy wants it signed, and it is not"
	case data.Signature == nil:
		return ""
	case !here:
		return "its signature is missing"
	}
	b, err := encode(a)
	if err != nil || digest("reeve/assertion/v1", b) != data.Signature.Assertion || a.Key != data.Signature.Key || a.Credential != data.Signature.Credential ||
		digest("reeve/public-key/v1", a.PublicKey) != data.Signature.PublicKey {
		return "its signature is not the one that the record commits to"
	}
	if why := c.statement(vote, a); why != "" {
		return why
	}
	return c.enrolled(vote, r, a)
}

func (c *actionCheck) wantsSigned() bool {
	for _, r := range c.require {
		if r.Signed {
			return true
		}
	}
	return false
}

// statement checks that these very words were signed, by somebody whom the
// authenticator verified, for the site the key is of.
func (c *actionCheck) statement(vote Vote, a Assertion) string {
	b, err := encode(map[string]string{"approval": c.id, "digest": vote.Digest, "decision": vote.Decision, "person": vote.Person, "nonce": a.Nonce})
	if err != nil {
		return "what it says has no canonical form"
	}
	challenge, err := hex.DecodeString(strings.TrimPrefix(digest("reeve/vote/v1", b), "sha256:"))
	if err != nil {
		return "what it says has no canonical form"
	}
	var client struct {
		Type        string `json:"type"`
		Challenge   string `json:"challenge"`
		Origin      string `json:"origin"`
		CrossOrigin bool   `json:"crossOrigin"`
	}
	if err := json.Unmarshal(a.ClientData, &client); err != nil || client.Type != "webauthn.get" {
		return "its signature is not one of a sign-in or vote"
	}
	if client.Challenge != base64.RawURLEncoding.EncodeToString(challenge) {
		return "its signature is about another approval, payload, decision or person"
	}
	origin, err := url.Parse(client.Origin)
	if err != nil || client.CrossOrigin || origin.Hostname() != a.RPID && !strings.HasSuffix(origin.Hostname(), "."+a.RPID) {
		return "its signature was made on another site"
	}
	domain := sha256.Sum256([]byte(a.RPID))
	const present, verified = 1, 4
	if len(a.AuthenticatorData) < 37 || !bytes.Equal(a.AuthenticatorData[:32], domain[:]) {
		return "its signature was made for another site"
	}
	if flags := a.AuthenticatorData[32]; flags&present == 0 || flags&verified == 0 {
		return "the authenticator did not verify who used it"
	}
	hash := sha256.Sum256(a.ClientData)
	ok, err := checkCOSE(a.PublicKey, append(bytes.Clone(a.AuthenticatorData), hash[:]...), a.Signature)
	switch {
	case err != nil:
		return err.Error()
	case !ok:
		return "its signature is not by the key"
	}
	return ""
}

// enrolled checks with the records of the key that it was the voter's own when they
// voted. Known to be compromised when the vote was carried out, the vote stands aside.
func (c *actionCheck) enrolled(vote Vote, r *record, a Assertion) string {
	found, aside := false, ""
	for _, k := range c.records {
		if k.Res != "passkey/"+a.Key || k.Outcome != "done" {
			continue
		}
		var data struct {
			Credential  string `json:"credential"`
			PublicKey   string `json:"public_key"`
			RPID        string `json:"rp_id"`
			Compromised bool   `json:"compromised"`
		}
		_ = json.Unmarshal(k.Data, &data)
		switch k.Action {
		case "passkey.enrol":
			if k.Actor.Person != vote.Person || data.Credential != a.Credential || data.RPID != a.RPID || data.PublicKey != digest("reeve/public-key/v1", a.PublicKey) {
				return "its key is not the one that record " + k.ID + " registers for " + vote.Person
			}
			found = found || !before(r, k)
		case "passkey.revoke":
			if before(k, r) {
				return "its key was revoked before, by record " + k.ID
			}
			if data.Compromised && c.done != nil && before(k, c.done) {
				aside = k.ID
			}
		}
	}
	if !found {
		return "no record says that its key was registered before"
	}
	switch {
	case aside == "":
		c.verified++
	case vote.Decision == "approve": // a vote against needs no signature
		c.aside = append(c.aside, vote.Person)
		c.note("the vote of %s does not count: its key was known to be compromised before the act, by record %s", vote.Person, aside)
	}
	return ""
}
