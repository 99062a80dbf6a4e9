package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

const flashCookie = "reeve_flash"

func (c *console) setFlash(x *Ctx, tone Tone, text string) {
	if tone == ToneNone {
		tone = ToneOK
	}
	body := base64.RawURLEncoding.EncodeToString([]byte(string(tone) + "\n" + text[:min(len(text), 1500)]))
	x.SetCookie(&http.Cookie{Name: flashCookie, Value: body + "." + c.sign(body), Path: c.url("/"), MaxAge: 60, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: x.R.TLS != nil})
}

// takeFlash reads the message that a form left, and removes it.
func (c *console) takeFlash(x *Ctx) (Alert, bool) {
	ck, err := x.R.Cookie(flashCookie)
	if err != nil {
		return Alert{}, false
	}
	x.SetCookie(&http.Cookie{Name: flashCookie, Path: c.url("/"), MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: x.R.TLS != nil})
	body, mac, ok := strings.Cut(ck.Value, ".")
	if !ok || !hmac.Equal([]byte(mac), []byte(c.sign(body))) {
		return Alert{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return Alert{}, false
	}
	tone, text, _ := strings.Cut(string(raw), "\n")
	return Alert{Tone: Tone(tone), Text: text}, true
}

func (c *console) sign(body string) string {
	m := hmac.New(sha256.New, c.opts.Secret)
	_, _ = m.Write([]byte("reeve/flash/v1\n" + body))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
