package alerting

import (
	"fmt"

	"github.com/reevehq/reeve/governance"
)

// raised is the notice of one alert by itself.
func raised(a governance.Alert) governance.Notice {
	return governance.Notice{ID: a.ID, Kind: governance.NoticeRaised, Title: a.Title, Alerts: []governance.Alert{a}}
}

// headline says in a line what a notice is about.
func headline(n governance.Notice) string {
	if len(n.Alerts) == 1 {
		return n.Alerts[0].Title
	}
	out := fmt.Sprintf("%d alerts %s: %s", len(n.Alerts), n.Kind, n.Title)
	if n.Waiting > len(n.Alerts) {
		out += fmt.Sprintf(" (%d open)", n.Waiting)
	}
	return out
}

// detail is what is said below an alert's title: who has it in hand, or its text, which
// nobody needs again when it is over.
func detail(n governance.Notice, a governance.Alert) string {
	switch n.Kind {
	case governance.NoticeAcked:
		return a.AckedBy + " has it in hand."
	case governance.NoticeResolved:
		return ""
	}
	return a.Body
}

func worst(n governance.Notice) governance.Severity {
	out := governance.Info
	for _, a := range n.Alerts {
		if a.Severity == governance.Critical || a.Severity == governance.Warning && out == governance.Info {
			out = a.Severity
		}
	}
	return out
}
