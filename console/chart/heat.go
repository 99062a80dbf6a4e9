package chart

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// HeatSpec describes a cohort table: it is a table already, so it needs no twin.
type HeatSpec struct {
	Title  string
	Corner string   // head of the first column: "Cohort"
	Size   string   // head of the second column, "" leaves it out: "Logos"
	Cols   []string // "M0", "M1", …
	Rows   []HeatRow
	Lo, Hi float64 // the shares of the lightest and the darkest cell; default 0 and 1
	Format func(float64) string
}

// HeatRow is one cohort. Values shorter than the columns leave the rest empty.
type HeatRow struct {
	Label  string
	Href   string // whole address, made with Ctx.URL
	Size   string
	Values []float64
	Hrefs  []string // whole address behind each value
}

// steps is how many shades a heat table has.
const steps = 10

// Heat draws a cohort table.
func Heat(s HeatSpec) template.HTML {
	if len(s.Rows) == 0 {
		return nothing(s.Title)
	}
	if s.Hi == s.Lo {
		s.Lo, s.Hi = 0, 1
	}
	if s.Format == nil {
		s.Format = func(v float64) string { return strconv.Itoa(int(math.Round(v*100))) + "\u00a0%" }
	}
	e := template.HTMLEscapeString
	var b strings.Builder
	b.WriteString(`<figure class="chart"><figcaption><span class="chart-title">` + e(s.Title) + `</span><span class="legend"><span>` + e(s.Format(s.Lo)) + `</span><svg class="heat-key" width="80" height="10" aria-hidden="true">`)
	for i := range steps {
		fmt.Fprintf(&b, `<rect class="h-%d" x="%d" width="8" height="10"/>`, i, i*8)
	}
	b.WriteString(`</svg><span>` + e(s.Format(s.Hi)) + `</span></span></figcaption><div class="table-wrap" tabindex="0" role="group" aria-label="` + e(s.Title) + `"><table class="table heat"><caption class="sr">` + e(s.Title) + `</caption><thead><tr><th scope="col">` + e(s.Corner) + `</th>`)
	if s.Size != "" {
		b.WriteString(`<th scope="col" class="num">` + e(s.Size) + `</th>`)
	}
	for _, c := range s.Cols {
		b.WriteString(`<th scope="col" class="num">` + e(c) + `</th>`)
	}
	b.WriteString(`</tr></thead><tbody>`)
	for _, r := range s.Rows {
		label := e(r.Label)
		if r.Href != "" {
			label = `<a href="` + e(r.Href) + `">` + label + `</a>`
		}
		b.WriteString(`<tr><th scope="row">` + label + `</th>`)
		if s.Size != "" {
			b.WriteString(`<td class="num mute">` + e(r.Size) + `</td>`)
		}
		for i := range s.Cols {
			v := at(r.Values, i)
			if math.IsNaN(v) {
				b.WriteString(`<td></td>`)
				continue
			}
			shade := int((v - s.Lo) / (s.Hi - s.Lo) * steps)
			fmt.Fprintf(&b, `<td class="num h-%d">%s</td>`, max(0, min(shade, steps-1)), link(Series{Hrefs: r.Hrefs}.href(i), s.Format(v)))
		}
		b.WriteString(`</tr>`)
	}
	b.WriteString(`</tbody></table></div></figure>`)
	return template.HTML(b.String()) //nolint:gosec // numbers and escaped text
}
