package recorder

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testMasker = &masker{fields: (*Options)(nil).withDefaults().MaskFields}

func TestMask_HTML(t *testing.T) {
	t.Parallel()
	for name, page := range map[string]string{
		"text":          `<p data-mask>LEAK</p>`,
		"inside markup": `<div data-mask><p>a <em title="LEAK">LEAK</em><img alt="LEAK" src="/LEAK"></p></div>`,
		"aria":          `<button data-mask aria-label="LEAK" data-user="LEAK">LEAK</button>`,
		"hidden":        `<input type=hidden name=csrf value=LEAK>`,
		"HIDDEN":        `<input TYPE=HIDDEN value=LEAK>`,
		"password":      `<input type=password value=LEAK placeholder=x>`,
		"by name":       `<input name=card_number value=LEAK>`,
		"by id":         `<input id=iban value=LEAK>`,
		"textarea":      `<textarea name=secret_note>LEAK</textarea>`,
		"select":        `<select name=api_key><option value=LEAK>LEAK</select>`,
		"comment":       `<!-- LEAK -->`,
		"script":        `<script>var x = "LEAK"</script>`,
		"template":      `<template><p>LEAK</p></template>`,
		"noscript":      `<noscript><p data-mask>LEAK</noscript>`,
		"iframe":        `<iframe srcdoc="LEAK"></iframe>`,
		"handler":       `<p onclick="LEAK()">x</p>`,
		"refresh":       `<meta http-equiv=refresh content="0;url=LEAK">`,
		"svg script":    `<svg><script>LEAK</script></svg>`,
		"unclosed":      `<p data-mask>LEAK<b>LEAK`,
		"broken out of": `<table data-mask><tr><td>LEAK</td></tr></table>`,
	} {
		got, ok := testMasker.html([]byte(page))
		require.True(t, ok, name)
		require.NotContains(t, got, "LEAK", "%s: %s", name, got)
	}
	got, ok := testMasker.html([]byte(`<style>a::before{content:"4111111111111111"}</style><input name=title value="Plan B"><p>Order 1234567890123456, card 4111 1111 1111 1111</p>`))
	require.True(t, ok)
	require.Contains(t, got, "Plan B")
	require.Contains(t, got, "1234567890123456", "no card: its check digit is wrong")
	require.NotContains(t, got, "4111 1111")
}

func TestMask_JSON(t *testing.T) {
	t.Parallel()
	got, ok := testMasker.json([]byte(`{"name":"x","user":{"API_Key":"LEAK","list":[{"accessToken":["LEAK"]}]},"n":12345678901234567890,"card":1,"pan":4111111111111111,"html":"<b>"}`))
	require.True(t, ok)
	require.NotContains(t, got, "LEAK")
	require.NotContains(t, got, "4111")
	require.Contains(t, got, "12345678901234567890")
	require.Contains(t, got, "<b>")
	require.True(t, json.Valid([]byte(got)))
	for _, bad := range []string{``, `{`, `{"a":1} {"password":"LEAK"}`, `nope`} {
		_, ok := testMasker.json([]byte(bad))
		require.False(t, ok, bad)
	}
}

func TestMask_Body(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"application/zip", "text/csv", "image/png", "", "text/html; charset=latin1", "text/html; charset"} {
		_, ok := testMasker.body(typ, []byte("<p>x"))
		require.False(t, ok, typ)
	}
	_, ok := testMasker.body("text/html", []byte{0xff, 0xfe})
	require.False(t, ok)
	v := testMasker.values(map[string][]string{"a": {strings.Repeat("x", 100_000)}, "\xff": {"\xff\x00"}})
	require.LessOrEqual(t, len(v["a"][0]), maxValue)
}

func FuzzMask(f *testing.F) {
	f.Add("<p data-mask>a", "application/json")
	f.Add(`{"password":1}`, "text/html")
	f.Fuzz(func(t *testing.T, body, typ string) {
		if got, ok := testMasker.body(typ, []byte(body)); ok {
			_, ok := encodeJSON(got)
			require.True(t, ok)
		}
	})
}
