package chart

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Series is one row of numbers, as long as the labels. NaN is a gap.
type Series struct {
	Name   string
	Values []float64
	Texts  []string // exact values for the table; default: Format of the values
	Class  string   // "s-1" to "s-6", "s-pos", "s-neg"; default: by position
	Dashed bool     // a forecast, or a series to compare with
	Hrefs  []string // whole address behind each value, made with Ctx.URL: of bars and of the table
}

// Band is a range around a forecast, as long as the labels; NaN outside it.
type Band struct {
	Name   string
	Lo, Hi []float64
}

// LineSpec describes a line chart.
type LineSpec struct {
	Title  string // names the chart, and is its caption
	Desc   string // a sentence for those who do not see it; default: made from the first series
	Labels []string
	Series []Series
	Bands  []Band // widest first
	Format func(float64) string
	Height int  // pixels of the plot; default 220
	Zero   bool // the axis begins at zero; default where the values come near it
	Area   bool // fills below the first series
}

// BarSpec describes stacked bars, positive upwards and negative downwards.
type BarSpec struct {
	Title  string
	Desc   string
	Labels []string
	Series []Series
	Net    *Series // drawn as a line over the bars
	Format func(float64) string
	Height int
}

const (
	plotHeight  = 220
	labelHeight = 24
	maxLabels   = 12
)

// Line draws a line chart with its legend and its table.
func Line(s LineSpec) template.HTML {
	n := len(s.Labels)
	values := collect(s.Series)
	for _, b := range s.Bands {
		values = append(append(values, b.Lo...), b.Hi...)
	}
	lo, hi, ok := bounds(values)
	if n == 0 || !ok {
		return nothing(s.Title)
	}
	if s.Zero || lo > 0 && lo < (hi-lo) || lo > 0 && s.Area {
		lo = min(lo, 0)
	}
	p := newPlot(lo, hi, s.Height, s.Format)
	x := func(i int) float64 {
		if n == 1 {
			return 50
		}
		return 100 * float64(i) / float64(n-1)
	}
	var b strings.Builder
	p.open(&b, s.Title, describe(s.Desc, s.Title, s.Labels, s.Series, p.format))
	// The inner drawing stretches with the page; its strokes do not.
	fmt.Fprintf(&b, `<svg class="stretch" width="100%%" height="%d" viewBox="0 0 1000 %d" preserveAspectRatio="none" aria-hidden="true">`, p.height, p.height)
	for i, band := range s.Bands {
		fmt.Fprintf(&b, `<path class="band band-%d" d="%s"/>`, i+1, p.band(band, x))
	}
	if s.Area && len(s.Series) > 0 {
		fmt.Fprintf(&b, `<path class="area %s" d="%s"/>`, class(s.Series[0], 0), p.area(s.Series[0].Values, x))
	}
	for i, ser := range s.Series {
		dashed := ""
		if ser.Dashed {
			dashed = " dashed"
		}
		fmt.Fprintf(&b, `<path class="line %s%s" d="%s"/>`, class(ser, i), dashed, p.path(ser.Values, x))
	}
	b.WriteString(`</svg>`)
	for i, ser := range s.Series { // a lone value between two gaps has no line
		for j, v := range ser.Values {
			if !math.IsNaN(v) && (j == 0 || math.IsNaN(ser.Values[j-1])) && (j == len(ser.Values)-1 || math.IsNaN(ser.Values[j+1])) {
				fmt.Fprintf(&b, `<circle class="dot %s" cx="%s%%" cy="%s" r="3"/>`, class(ser, i), num(x(j)), num(p.y(v)))
			}
		}
	}
	p.xLabels(&b, s.Labels, x, n > 1)
	p.cursor(&b)
	b.WriteString(`</svg></div>`)
	return p.figure(s.Title, b.String(), legend(s.Series, s.Bands, nil), twin(s.Title, s.Labels, s.Series, s.Bands, p.format), xs(n, x))
}

// Bars draws stacked bars with their legend and their table.
func Bars(s BarSpec) template.HTML {
	n := len(s.Labels)
	var tops []float64
	for i := range n {
		up, down := 0.0, 0.0
		for _, ser := range s.Series {
			switch v := at(ser.Values, i); {
			case v > 0:
				up += v
			case v < 0:
				down += v
			}
		}
		tops = append(tops, up, down)
	}
	if s.Net != nil {
		tops = append(tops, s.Net.Values...)
	}
	lo, hi, ok := bounds(append(tops, 0))
	if n == 0 || !ok || len(collect(s.Series)) == 0 {
		return nothing(s.Title)
	}
	p := newPlot(lo, hi, s.Height, s.Format)
	p.links = linked(s.Series)
	slot := 100 / float64(n)
	width := slot * 0.64
	x := func(i int) float64 { return slot * (float64(i) + 0.5) }
	all := s.Series
	if s.Net != nil {
		all = append(append([]Series{}, s.Series...), *s.Net)
	}
	var b strings.Builder
	p.open(&b, s.Title, describe(s.Desc, s.Title, s.Labels, all[len(all)-1:], p.format))
	for i := range n {
		up, down := 0.0, 0.0
		for k, ser := range s.Series {
			v := at(ser.Values, i)
			if v == 0 || math.IsNaN(v) {
				continue
			}
			from := &up
			if v < 0 {
				from = &down
			}
			y1, y2 := p.y(*from), p.y(*from+v)
			*from += v
			top, h := min(y1, y2), math.Abs(y2-y1)
			if h > 2 { // a hairline of the ground keeps neighbours apart
				h--
				if v < 0 {
					top++
				}
			}
			rect := fmt.Sprintf(`<rect class="bar %s" x="%s%%" y="%s" width="%s%%" height="%s"/>`, class(ser, k), num(x(i)-width/2), num(top), num(width), num(max(h, 0.75)))
			if href := ser.href(i); href != "" { // the table has the same link for the keyboard
				rect = `<a href="` + template.HTMLEscapeString(href) + `" tabindex="-1" aria-label="` + template.HTMLEscapeString(ser.Name+", "+s.Labels[i]+": "+p.format(v)) + `">` + rect + `</a>`
			}
			b.WriteString(rect)
		}
	}
	fmt.Fprintf(&b, `<line class="zero" x1="0" x2="100%%" y1="%s" y2="%s"/>`, num(p.y(0)), num(p.y(0)))
	if s.Net != nil {
		fmt.Fprintf(&b, `<svg class="stretch" width="100%%" height="%d" viewBox="0 0 1000 %d" preserveAspectRatio="none" aria-hidden="true"><path class="line net" d="%s"/></svg>`, p.height, p.height, p.path(s.Net.Values, x))
		for i, v := range s.Net.Values {
			if !math.IsNaN(v) && i < n {
				fmt.Fprintf(&b, `<circle class="dot net" cx="%s%%" cy="%s" r="2.5"/>`, num(x(i)), num(p.y(v)))
			}
		}
	}
	p.xLabels(&b, s.Labels, x, false)
	p.cursor(&b)
	b.WriteString(`</svg></div>`)
	return p.figure(s.Title, b.String(), legend(s.Series, nil, s.Net), twin(s.Title, s.Labels, all, nil, p.format), xs(n, x))
}

// Spark draws a small line without axes, for a tile; label says what it is.
func Spark(values []float64, label string) template.HTML {
	lo, hi, ok := bounds(values)
	if !ok || len(values) < 2 {
		return ""
	}
	if hi == lo {
		lo, hi = lo-1, hi+1
	}
	p := plot{lo: lo, hi: hi, height: 28}
	x := func(i int) float64 { return 100 * float64(i) / float64(len(values)-1) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark" width="100%%" height="32" role="img" aria-label="%s"><svg class="stretch" y="2" width="100%%" height="28" viewBox="0 0 1000 28" preserveAspectRatio="none" aria-hidden="true"><path class="area s-1" d="%s"/><path class="line s-1" d="%s"/></svg></svg>`,
		template.HTMLEscapeString(label), p.area(values, x), p.path(values, x))
	return template.HTML(b.String()) //nolint:gosec // numbers, and an escaped label
}

// plot is the scale of one drawing.
type plot struct {
	lo, hi float64
	ticks  []float64
	height int
	format func(float64) string
	links  bool // there are links in the drawing: it is no image then
}

func newPlot(lo, hi float64, height int, format func(float64) string) plot {
	if height <= 0 {
		height = plotHeight
	}
	if format == nil {
		format = plainNumber
	}
	ticks := Ticks(lo, hi, max(3, height/48))
	return plot{lo: ticks[0], hi: ticks[len(ticks)-1], ticks: ticks, height: height, format: format}
}

func (p plot) y(v float64) float64 {
	return float64(p.height) * (1 - (v-p.lo)/(p.hi-p.lo))
}

// open begins the drawing: axis labels beside it, grid lines in it.
func (p plot) open(b *strings.Builder, title, desc string) {
	b.WriteString(`<div class="chart-body"><div class="chart-y" aria-hidden="true">`)
	for _, t := range p.ticks {
		fmt.Fprintf(b, `<span>%s</span>`, template.HTMLEscapeString(p.format(t)))
	}
	role := "img"
	if p.links {
		role = "group"
	}
	fmt.Fprintf(b, `</div><svg class="chart-plot" width="100%%" height="%d" role="%s" tabindex="0" aria-label="%s"><desc>%s</desc>`,
		p.height+labelHeight, role, template.HTMLEscapeString(title+". "+desc), template.HTMLEscapeString(desc))
	for _, t := range p.ticks {
		fmt.Fprintf(b, `<line class="grid-line" x1="0" x2="100%%" y1="%s" y2="%s"/>`, num(p.y(t)), num(p.y(t)))
	}
}

func (p plot) cursor(b *strings.Builder) {
	fmt.Fprintf(b, `<line class="cursor" x1="0" x2="0" y1="0" y2="%d" visibility="hidden"/>`, p.height)
}

// xLabels writes at most twelve labels; where the page is narrow, some of many are
// hidden.
func (p plot) xLabels(b *strings.Builder, labels []string, x func(int) float64, edges bool) {
	n := len(labels)
	step := (n + maxLabels - 1) / maxLabels
	last := n - 1
	for k, i := 0, last; i >= 0; k, i = k+1, i-step { // from the right: the newest is always named
		anchor := "middle"
		if edges && i == last {
			anchor = "end"
		} else if edges && i == 0 {
			anchor = "start"
		}
		minor := ""
		switch shown := (n + step - 1) / step; {
		case shown <= 4 || k%4 == 0:
		case shown <= 7 && k%2 == 0:
		case shown <= 7 || k%2 == 0:
			minor = " minor"
		default:
			minor = " minor minor-2"
		}
		fmt.Fprintf(b, `<text class="x-label%s" x="%s%%" y="%d" text-anchor="%s">%s</text>`, minor, num(x(i)), p.height+17, anchor, template.HTMLEscapeString(labels[i]))
	}
}

func (p plot) path(values []float64, x func(int) float64) string {
	var b strings.Builder
	pen := false
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			pen = false
			continue
		}
		op := "L"
		if !pen {
			op = "M"
		}
		pen = true
		b.WriteString(op + num(10*x(i)) + " " + num(p.y(v)))
	}
	return b.String()
}

func (p plot) area(values []float64, x func(int) float64) string {
	var b strings.Builder
	base := num(p.y(max(p.lo, min(0, p.hi))))
	start := -1
	flush := func(end int) {
		if start < 0 || end-start < 2 {
			start = -1
			return
		}
		b.WriteString("M" + num(10*x(start)) + " " + base)
		for i := start; i < end; i++ {
			b.WriteString("L" + num(10*x(i)) + " " + num(p.y(values[i])))
		}
		b.WriteString("L" + num(10*x(end-1)) + " " + base + "Z")
		start = -1
	}
	for i, v := range values {
		if math.IsNaN(v) {
			flush(i)
		} else if start < 0 {
			start = i
		}
	}
	flush(len(values))
	return b.String()
}

func (p plot) band(band Band, x func(int) float64) string {
	var there []int
	for i := range band.Lo {
		if i < len(band.Hi) && !math.IsNaN(band.Lo[i]) && !math.IsNaN(band.Hi[i]) {
			there = append(there, i)
		}
	}
	if len(there) < 2 {
		return "M0 0"
	}
	var b strings.Builder
	op := "M"
	for _, i := range there {
		b.WriteString(op + num(10*x(i)) + " " + num(p.y(band.Hi[i])))
		op = "L"
	}
	for k := len(there) - 1; k >= 0; k-- {
		b.WriteString("L" + num(10*x(there[k])) + " " + num(p.y(band.Lo[there[k]])))
	}
	return b.String() + "Z"
}

func (p plot) figure(title, body, legend, table, xs string) template.HTML {
	return template.HTML(`<figure class="chart" data-chart="` + xs + `"><figcaption><span class="chart-title">` + template.HTMLEscapeString(title) + `</span>` + legend + `</figcaption>` + //nolint:gosec // built from numbers and escaped text
		body + table + `</figure>`)
}

// Ticks are nice round numbers from at or below lo to at or above hi, about want of
// them.
func Ticks(lo, hi float64, want int) []float64 {
	if hi < lo {
		lo, hi = hi, lo
	}
	if hi-lo <= max(math.Abs(lo), math.Abs(hi))*1e-9 { // as good as equal: floats could not tell the ticks apart
		pad := math.Abs(hi) * 0.1
		if pad == 0 {
			pad = 1
		}
		lo, hi = lo-pad, hi+pad
		if lo < 0 && hi > 0 && hi == pad { // all zero: stand on the axis
			lo = 0
		}
	}
	raw := (hi - lo) / float64(max(want, 1))
	magnitude := math.Pow(10, math.Floor(math.Log10(raw)))
	step := magnitude * 10
	for _, m := range []float64{1, 2, 2.5, 5} {
		if raw <= m*magnitude*1.0000001 {
			step = m * magnitude
			break
		}
	}
	first, last := math.Floor(lo/step+1e-9), math.Ceil(hi/step-1e-9)
	if last <= first {
		last = first + 1
	}
	out := make([]float64, 0, int(last-first)+1)
	for k := first; k <= last; k++ {
		v := k * step
		if v == 0 {
			v = 0 // no negative zero
		}
		out = append(out, v)
	}
	return out
}

func collect(series []Series) []float64 {
	var out []float64
	for _, s := range series {
		out = append(out, s.Values...)
	}
	return out
}

func at(values []float64, i int) float64 {
	if i < len(values) {
		return values[i]
	}
	return math.NaN()
}

// bounds ignores what is not a number.
func bounds(values []float64) (lo, hi float64, ok bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		lo, hi, ok = min(lo, v), max(hi, v), true
	}
	return lo, hi, ok
}

func class(s Series, i int) string {
	if s.Class != "" {
		return template.HTMLEscapeString(s.Class)
	}
	return "s-" + strconv.Itoa(i%6+1)
}

func num(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
}

func plainNumber(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func nothing(title string) template.HTML {
	return template.HTML(`<figure class="chart"><figcaption><span class="chart-title">` + template.HTMLEscapeString(title) + `</span></figcaption><p class="chart-none">No data yet.</p></figure>`) //nolint:gosec // escaped
}

// xs are the places of the values across, in per cent, for the cursor.
func xs(n int, x func(int) float64) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = num(x(i))
	}
	return strings.Join(parts, " ")
}

// describe is the sentence for those who do not see the chart.
func describe(desc, _ string, labels []string, series []Series, format func(float64) string) string {
	if desc != "" || len(series) == 0 {
		return desc
	}
	first, last := -1, -1
	for i, v := range series[0].Values {
		if math.IsNaN(v) || i >= len(labels) {
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
	}
	if first < 0 {
		return "It has no values."
	}
	a, b := series[0].Values[first], series[0].Values[last]
	word := "stayed at"
	switch {
	case b > a:
		word = "rose from " + format(a) + " to"
	case b < a:
		word = "fell from " + format(a) + " to"
	}
	return fmt.Sprintf("%s %s %s between %s and %s. The table below it has every value.", series[0].Name, word, format(b), labels[first], labels[last])
}

func legend(series []Series, bands []Band, net *Series) string {
	if len(series)+len(bands) < 2 && net == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(`<span class="legend">`)
	item := func(key, name string) {
		fmt.Fprintf(&b, `<span><svg width="12" height="12" aria-hidden="true">%s</svg>%s</span>`, key, template.HTMLEscapeString(name))
	}
	for i, s := range series {
		key := `<rect class="bar ` + class(s, i) + `" y="1" width="10" height="10" rx="2.5"/>`
		if s.Dashed {
			key = `<line class="line dashed ` + class(s, i) + `" x1="0" x2="12" y1="6" y2="6"/>`
		}
		item(key, s.Name)
	}
	for i, band := range bands {
		item(fmt.Sprintf(`<rect class="band band-%d" y="1" width="10" height="10" rx="2.5"/>`, i+1), band.Name)
	}
	if net != nil {
		item(`<line class="line net" x1="0" x2="12" y1="6" y2="6"/>`, net.Name)
	}
	b.WriteString(`</span>`)
	return b.String()
}

// twin is the table that says the same as the drawing.
func twin(title string, labels []string, series []Series, bands []Band, format func(float64) string) string {
	var b strings.Builder
	b.WriteString(`<details class="twin"><summary>Show as table<span class="sr">: ` + template.HTMLEscapeString(title) + `</span></summary><div class="table-wrap" tabindex="0" role="group" aria-label="` + template.HTMLEscapeString(title) + `, as a table"><table class="table"><caption class="sr">` + template.HTMLEscapeString(title) + `</caption><thead><tr><th scope="col">Period</th>`)
	for _, s := range series {
		b.WriteString(`<th scope="col" class="num">` + template.HTMLEscapeString(s.Name) + `</th>`)
	}
	for _, band := range bands {
		b.WriteString(`<th scope="col" class="num">` + template.HTMLEscapeString(band.Name) + `</th>`)
	}
	b.WriteString(`</tr></thead><tbody>`)
	for i, l := range labels {
		b.WriteString(`<tr><th scope="row">` + template.HTMLEscapeString(l) + `</th>`)
		for _, s := range series {
			cell := "–"
			if v := at(s.Values, i); !math.IsNaN(v) {
				cell = format(v)
			}
			if i < len(s.Texts) && s.Texts[i] != "" {
				cell = s.Texts[i]
			}
			b.WriteString(`<td class="num">` + link(s.href(i), cell) + `</td>`)
		}
		for _, band := range bands {
			cell := "–"
			if lo, hi := at(band.Lo, i), at(band.Hi, i); !math.IsNaN(lo) && !math.IsNaN(hi) {
				cell = format(lo) + " to " + format(hi)
			}
			b.WriteString(`<td class="num">` + template.HTMLEscapeString(cell) + `</td>`)
		}
		b.WriteString(`</tr>`)
	}
	b.WriteString(`</tbody></table></div></details>`)
	return b.String()
}
