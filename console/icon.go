package console

import (
	"fmt"
	"html/template"
)

// icon draws one of our own line icons, 16 by 16, in the colour of the text. It is
// decoration: a word always stands beside it.
func icon(name string) (template.HTML, error) {
	d, ok := iconPaths(name)
	if !ok {
		return "", fmt.Errorf("no icon %q", name)
	}
	return template.HTML(`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">` + d + `</svg>`), nil //nolint:gosec // constant markup
}

func iconPaths(name string) (string, bool) {
	switch name {
	case "", "dot":
		return `<circle cx="8" cy="8" r="2.25" fill="currentColor" stroke="none"/>`, true
	case "home":
		return `<path d="M2.5 7 8 2.5 13.5 7v6.5h-4v-4h-3v4h-4z"/>`, true
	case "approval":
		return `<path d="M5.5 2.5h-2v11h9v-11h-2"/><path d="M5.5 1.75h5v2.5h-5z"/><path d="m5.75 9 1.75 1.75L10.75 7"/>`, true
	case "session":
		return `<circle cx="6" cy="5" r="2.5"/><path d="M1.75 13.5c0-2.5 1.75-4 4.25-4"/><path d="M9 12.25s1.25-2.25 3-2.25 3 2.25 3 2.25-1.25 2.25-3 2.25-3-2.25-3-2.25z"/><circle cx="12" cy="12.25" r=".5"/>`, true
	case "bell":
		return `<path d="M4 7a4 4 0 0 1 8 0c0 3 1.25 4.25 1.25 4.25H2.75S4 10 4 7z"/><path d="M6.5 13.5a1.6 1.6 0 0 0 3 0"/>`, true
	case "ledger":
		return `<path d="M3.5 2.5h9v11h-9a1.5 1.5 0 0 1 0-3h9"/><path d="M2 12V4a1.5 1.5 0 0 1 1.5-1.5"/><path d="M6 5.5h4"/>`, true
	case "tenant":
		return `<path d="M2.5 13.5v-11h7v11"/><path d="M9.5 6.5h4v7"/><path d="M1.5 13.5h13"/><path d="M5 5.5h2M5 8h2M5 10.5h2"/>`, true
	case "retention":
		return `<path d="M2 4.5h12"/><path d="M6 4.5v-2h4v2"/><path d="m3.5 4.5.75 9h7.5l.75-9"/><path d="M8 7v2.5l1.5 1"/>`, true
	case "revenue", "chart":
		return `<path d="M2 13.5h12"/><path d="m2.5 10 3.5-3.5 2.5 2.5 5-5.5"/><path d="M10.5 3.5h3v3"/>`, true
	case "playbook":
		return `<circle cx="4" cy="3.75" r="1.75"/><circle cx="12" cy="8" r="1.75"/><circle cx="4" cy="12.25" r="1.75"/><path d="M5.75 3.75H8c1.5 0 2 2 2.25 4.25M5.75 12.25H8c1.5 0 2-2 2.25-4.25"/>`, true
	case "runbook":
		return `<path d="M6.5 3.5h7M6.5 8h7M6.5 12.5h7"/><path d="m2 3.25.9.9L4.5 2.5M2 7.75l.9.9L4.5 7"/><circle cx="3.25" cy="12.5" r=".9"/>`, true
	case "delivery", "integration":
		return `<path d="M14 2 7 9"/><path d="M14 2 9.5 14 7 9 2 6.5z"/>`, true
	case "plug":
		return `<path d="M5.5 2v3M10.5 2v3"/><path d="M3.5 5h9v2.5a4.5 4.5 0 0 1-9 0z"/><path d="M8 12v2.5"/>`, true
	case "user", "users":
		return `<circle cx="6" cy="5" r="2.5"/><path d="M1.75 13.5c0-2.5 1.75-4 4.25-4s4.25 1.5 4.25 4"/><path d="M10.5 2.75a2.5 2.5 0 0 1 0 4.5"/><path d="M12 9.75c1.5.5 2.25 1.9 2.25 3.75"/>`, true
	case "policy", "shield":
		return `<path d="M8 1.75 13 3.5V8c0 3-2 5.25-5 6.25C5 13.25 3 11 3 8V3.5z"/><path d="m5.75 7.75 1.6 1.6 2.9-2.9"/>`, true
	case "settings":
		return `<path d="M2 4.5h6M11.5 4.5H14M2 11.5h2.5M8 11.5h6"/><circle cx="9.75" cy="4.5" r="1.75"/><circle cx="6.25" cy="11.5" r="1.75"/>`, true
	case "search":
		return `<circle cx="7" cy="7" r="4.25"/><path d="m10.25 10.25 3.5 3.5"/>`, true
	case "menu":
		return `<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11"/>`, true
	case "check":
		return `<path d="m3.5 8.5 3 3 6-7"/>`, true
	case "cross":
		return `<path d="m4.25 4.25 7.5 7.5M11.75 4.25l-7.5 7.5"/>`, true
	case "minus":
		return `<path d="M4 8h8"/>`, true
	case "plus":
		return `<path d="M8 3.5v9M3.5 8h9"/>`, true
	case "clock":
		return `<circle cx="8" cy="8" r="5.75"/><path d="M8 4.75V8l2.25 1.5"/>`, true
	case "question":
		return `<path d="M5.75 6a2.25 2.25 0 1 1 3.5 1.9c-.8.5-1.25 1-1.25 1.85"/><path d="M8 12.25v.1"/>`, true
	case "alert":
		return `<path d="M8 2.25 14.25 13.5H1.75z"/><path d="M8 6.5v3M8 11.6v.1"/>`, true
	case "info":
		return `<circle cx="8" cy="8" r="5.75"/><path d="M8 7.5v3.25M8 5.2v.1"/>`, true
	case "play":
		return `<path d="M5.5 3.75 12 8l-6.5 4.25z"/>`, true
	case "pause":
		return `<path d="M5.75 3.75v8.5M10.25 3.75v8.5"/>`, true
	case "arrow":
		return `<path d="M3.5 8h9M9 4.5 12.5 8 9 11.5"/>`, true
	case "back":
		return `<path d="M12.5 8h-9M7 4.5 3.5 8 7 11.5"/>`, true
	case "down":
		return `<path d="m4.5 6.25 3.5 3.5 3.5-3.5"/>`, true
	case "right":
		return `<path d="m6.25 4.5 3.5 3.5-3.5 3.5"/>`, true
	case "download":
		return `<path d="M8 2.5v7.25M4.75 6.75 8 10l3.25-3.25M2.75 13.25h10.5"/>`, true
	case "copy":
		return `<path d="M5.5 5.5h8v8h-8z"/><path d="M10.5 5.5v-3h-8v8h3"/>`, true
	case "external":
		return `<path d="M9 2.5h4.5V7M13.5 2.5 7.5 8.5"/><path d="M11.5 9.5v4h-9v-9h4"/>`, true
	case "key":
		return `<circle cx="5.25" cy="10.75" r="2.75"/><path d="m7.25 8.75 6-6M11 5l2 2"/>`, true
	case "lock":
		return `<path d="M3.5 7.5h9v6h-9z"/><path d="M5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5"/>`, true
	case "money":
		return `<path d="M1.75 4h12.5v8H1.75z"/><circle cx="8" cy="8" r="1.75"/><path d="M4 6.5v.1M12 9.4v.1"/>`, true
	case "tag":
		return `<path d="M2.5 2.5h5l6 6-5 5-6-6z"/><circle cx="5.25" cy="5.25" r=".6"/>`, true
	case "ticket":
		return `<path d="M2 4.5h12v2a1.5 1.5 0 0 0 0 3v2H2v-2a1.5 1.5 0 0 0 0-3z"/><path d="M9.5 4.5v7"/>`, true
	case "undo":
		return `<path d="M5.5 3 2.5 6l3 3"/><path d="M2.5 6h7a4 4 0 0 1 0 8H7"/>`, true
	case "sun":
		return `<circle cx="8" cy="8" r="2.75"/><path d="M8 1.5v1.25M8 13.25v1.25M1.5 8h1.25M13.25 8h1.25M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9"/>`, true
	case "moon":
		return `<path d="M13 9.5A5.75 5.75 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z"/>`, true
	case "auto":
		return `<circle cx="8" cy="8" r="5.75"/><path d="M8 2.25v11.5a5.75 5.75 0 0 0 0-11.5z" fill="currentColor"/>`, true
	case "out":
		return `<path d="M6.5 2.5h-4v11h4"/><path d="M6.5 8h7M10.5 5l3 3-3 3"/>`, true
	case "filter":
		return `<path d="M2 3.5h12L9.5 8.75V13l-3-1.5V8.75z"/>`, true
	case "calendar":
		return `<path d="M2.5 3.5h11v10h-11zM2.5 6.5h11M5.5 2v2.5M10.5 2v2.5"/>`, true
	case "database":
		return `<ellipse cx="8" cy="3.75" rx="5" ry="1.75"/><path d="M3 3.75v8.5c0 1 2.25 1.75 5 1.75s5-.75 5-1.75v-8.5M3 8c0 1 2.25 1.75 5 1.75S13 9 13 8"/>`, true
	case "mail":
		return `<path d="M1.75 3.5h12.5v9H1.75z"/><path d="m2 4 6 4.75L14 4"/>`, true
	case "eye":
		return `<path d="M1.5 8S4 3.75 8 3.75 14.5 8 14.5 8 12 12.25 8 12.25 1.5 8 1.5 8z"/><circle cx="8" cy="8" r="1.75"/>`, true
	case "pulse":
		return `<path d="M1.5 8h3l2-5 3 10 2-5h3"/>`, true
	}
	return "", false
}
