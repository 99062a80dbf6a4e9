package console

import (
	"net/http"
	"strings"
)

// kernelSections are the pages of the kernel itself.
func (c *console) kernelSections() []Section {
	return []Section{homeSection(c), approvalsSection(), actReviewsSection(), alertsSection(), ledgerSection(), tenantsSection(c), policiesSection(), catalogueSection(), searchSection(c), c.storiesSection()}
}

// setTheme keeps the choice of light or dark in a cookie.
func setTheme(x *Ctx) (Done, error) {
	ck := &http.Cookie{Name: themeCookie, Value: x.Form("theme"), Path: x.Base(), MaxAge: 365 * 24 * 3600, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: x.R.TLS != nil}
	if ck.Value != "light" && ck.Value != "dark" {
		ck.Value, ck.MaxAge = "", -1
	}
	x.SetCookie(ck)
	return Done{To: ownPath(x.Form("back"))}, nil
}

// ownPath is a path of this console, whatever was sent: "//host" and a backslash
// would lead elsewhere.
func ownPath(p string) string {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n") {
		return "/"
	}
	return p
}
