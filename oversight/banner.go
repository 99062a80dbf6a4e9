package oversight

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed banner.js
var bannerScript []byte

var bannerTemplate = template.Must(template.New("banner").Parse(`<div class="reeve-acting" role="region" aria-label="Impersonation" data-reeve-until="{{.Until}}" data-reeve-left="{{.Left}}">` +
	`<p>{{.Actor}} works as <span data-mask>{{.User}}</span> until <time datetime="{{.Until}}">{{.Clock}}</time>, <span data-reeve-left>{{.Minutes}} min left</span>. {{if .ReadOnly}}Reading only.{{else}}Changes count as theirs.{{end}} Everything is recorded.</p>` +
	`<form method="post" action="{{.End}}"><button>End</button></form></div>`))

// Banner is the strip that a host puts on top of every page of its product, outside
// of what a page can cover: who works as whom, how long still, and the way out. It is
// empty when nobody is impersonated. Put it into pages of HTML only.
func (s *Service) Banner(ctx context.Context) template.HTML {
	have, ok := FromContext(ctx)
	if !ok {
		return ""
	}
	left := max(0, have.ExpiresAt.Sub(s.k.Now()))
	var b strings.Builder
	err := bannerTemplate.Execute(&b, map[string]any{
		"Actor": cmp.Or(have.Actor.Name, have.Actor.ID), "User": cmp.Or(have.Subject.Name, have.Subject.ID), "Until": have.ExpiresAt.UTC().Format(time.RFC3339), "Clock": have.ExpiresAt.UTC().Format("15:04 MST"),
		"Left": fmt.Sprint(int(left.Seconds())), "Minutes": int((left + time.Minute - 1) / time.Minute), "ReadOnly": have.Scope != ReadWrite, "End": s.opts.EndPath,
	})
	if err != nil { // a builder takes everything, and the template has no function that fails
		return template.HTML("<p>Impersonation</p>")
	}
	return template.HTML(b.String()) //nolint:gosec // made by html/template
}

// BannerScript serves the small module that makes the banner count down. It is our own
// and loads nothing.
func BannerScript(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(bannerScript)
}
