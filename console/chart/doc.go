// Package chart draws the console's charts as SVG from numbers, each with a table
// that says the same.
//
// Start with [Line], [Bars], [Heat] or [Spark]; each returns markup for a page. A
// chart keeps the size of its text on every screen: positions across are in per cent
// of the width, heights in pixels. Colours come from the style sheet by class
// ("s-1" to "s-6", "s-pos", "s-neg"), so that light and dark need no second drawing.
// There is no style attribute, which a strict policy would block.
//
// Values are for drawing; money stays exact in the table through Format or Texts.
// There are no errors: what cannot be drawn says so in the chart's place.
package chart
