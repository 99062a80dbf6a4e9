package console

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/reevehq/reeve/governance"
)

// text is how anything is written in an address or a cell.
func text(v any) string {
	switch s := v.(type) {
	case string:
		return s
	case fmt.Stringer:
		return s.String()
	}
	return fmt.Sprint(v)
}

// groupDigits puts a comma between thousands.
func groupDigits(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "−", s[1:] // a real minus: as wide as a plus
	}
	whole, fraction, dot := strings.Cut(s, ".")
	var b strings.Builder
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	if dot {
		b.WriteString("." + fraction)
	}
	return sign + b.String()
}

// FormatInt writes a whole number: "12,400".
func FormatInt(n int64) string { return groupDigits(strconv.FormatInt(n, 10)) }

func currencySign(code string) string {
	switch code {
	case "EUR":
		return "€"
	case "USD":
		return "$"
	case "GBP":
		return "£"
	case "JPY":
		return "¥"
	}
	return code + "\u00a0"
}

// FormatMoney writes an amount: "€12,000.00", "CHF 80.00".
func FormatMoney(m governance.Money) string {
	if m.Currency == "" {
		return groupDigits(strconv.FormatInt(m.Minor, 10))
	}
	s := groupDigits(m.Amount())
	if rest, ok := strings.CutPrefix(s, "−"); ok {
		return "−" + currencySign(m.Currency) + rest
	}
	return currencySign(m.Currency) + s
}

// FormatMoneyShort writes an amount for a chart or a tile: "€12.4k".
func FormatMoneyShort(m governance.Money) string {
	v := float64(m.Minor) / math.Pow10(governance.Exponent(m.Currency))
	sign := ""
	if v < 0 {
		sign, v = "−", -v
	}
	return sign + currencySign(m.Currency) + FormatShort(v)
}

// FormatShort writes a number with three digits at most: "12.4k", "1.02M".
func FormatShort(v float64) string {
	sign := ""
	if v < 0 {
		sign, v = "−", -v
	}
	unit := ""
	for _, u := range []string{"k", "M", "B"} {
		if v < 999.5 {
			break
		}
		v, unit = v/1000, u
	}
	digits := 2
	switch {
	case v >= 99.95 || v == math.Trunc(v) && unit == "":
		digits = 0
	case v >= 9.995:
		digits = 1
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return sign + s + unit
}

// FormatPercent writes a share: 0.1234 is "12.3 %".
func FormatPercent(share float64) string {
	if math.IsNaN(share) || math.IsInf(share, 0) {
		return "–"
	}
	s := strconv.FormatFloat(share*100, 'f', 1, 64)
	return groupDigits(s) + "\u00a0%"
}

// FormatBytes writes a size: "1.4 MB".
func FormatBytes(n int64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	if unit == "B" {
		return strconv.FormatInt(n, 10) + "\u00a0B"
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + "\u00a0" + unit
}

// FormatDuration writes a length in its two largest units: "2 d 4 h".
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "−" + FormatDuration(-d)
	}
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + "\u00a0ms"
	}
	var parts []string
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		n := d / u.of
		if n == 0 {
			if len(parts) > 0 {
				break
			}
			continue
		}
		parts = append(parts, strconv.FormatInt(int64(n), 10)+"\u00a0"+u.name)
		if d -= n * u.of; len(parts) == 2 {
			break
		}
	}
	return strings.Join(parts, " ")
}

// FormatWindow writes the length of a sliding window, in hours up to three days:
// "24 h".
func FormatWindow(d time.Duration) string {
	if d >= time.Hour && d <= 72*time.Hour && d%time.Hour == 0 {
		return strconv.Itoa(int(d/time.Hour)) + "\u00a0h"
	}
	return FormatDuration(d)
}

// FormatAgo says how far t is from now: "3 h ago", "in 2 d".
func FormatAgo(t, now time.Time) string {
	d := now.Sub(t)
	future := d < 0
	if future {
		d = -d
	}
	if d < 45*time.Second {
		return "just now"
	}
	var s string
	switch {
	case d < 90*time.Minute:
		s = fmt.Sprintf("%d\u00a0min", int64(math.Round(d.Minutes())))
	case d < 36*time.Hour:
		s = fmt.Sprintf("%d\u00a0h", int64(math.Round(d.Hours())))
	default:
		s = fmt.Sprintf("%d\u00a0d", int64(math.Round(d.Hours()/24)))
	}
	if future {
		return "in " + s
	}
	return s + " ago"
}

// Humanize turns a name such as "tenant.plan_changed" into words: "Tenant plan changed".
func Humanize(name string) string {
	words := strings.Fields(strings.NewReplacer(".", " ", "_", " ", "-", " ").Replace(name))
	for i, w := range words {
		switch up := strings.ToUpper(w); up {
		case "API", "ARR", "CRM", "CSV", "GDPR", "GRR", "ID", "IP", "KYC", "MRR", "NRR", "OIDC", "SLA", "SQL", "SSO", "URL", "VAT":
			words[i] = up
		default:
			if i == 0 {
				r, n := utf8.DecodeRuneInString(w)
				words[i] = string(unicode.ToUpper(r)) + w[n:]
			}
		}
	}
	return strings.Join(words, " ")
}

// ShortID is the last part of a long id, which differs where the first parts of
// time-ordered ids are alike.
func ShortID(id string) string {
	if len(id) == 36 && id[8] == '-' {
		return id[24:]
	}
	if len(id) > 20 {
		return id[:19] + "…"
	}
	return id
}
