package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The published vectors of the specification.
const (
	vectorID   = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime = 1614265330
	vectorBody = `{"test": 2432232314}`
)

func TestSign_publishedVectors(t *testing.T) {
	t.Parallel()
	at := time.Unix(vectorTime, 0)
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	require.NoError(t, err)
	private, err := ParsePrivateKey("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
	require.NoError(t, err)
	h, err := Sign(vectorID, at, []byte(vectorBody), secret, private)
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= "+
		"v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==", h.Get(HeaderSignature))
	require.NoError(t, Verify(h, []byte(vectorBody), at, secret))
	require.NoError(t, Verify(h, []byte(vectorBody), at, private.Public()))
}

func TestVerify_refuses(t *testing.T) {
	t.Parallel()
	at := time.Unix(vectorTime, 0)
	secret, other := NewSecret(), NewSecret()
	body := []byte(`{"a":1}`)
	good := func() http.Header {
		h, err := Sign("msg_1", at, body, secret)
		require.NoError(t, err)
		return h
	}
	for name, c := range map[string]struct {
		change func(h http.Header)
		body   string
		now    time.Time
		keys   []Verifier
		want   error
	}{
		"good":             {want: nil},
		"another body":     {body: `{"a":2}`, want: ErrSignature},
		"re-encoded body":  {body: `{"a": 1}`, want: ErrSignature},
		"another secret":   {keys: []Verifier{other}, want: ErrSignature},
		"no key":           {keys: []Verifier{}, want: ErrSignature},
		"zero secret":      {keys: []Verifier{Secret{}}, want: ErrSignature},
		"zero public key":  {keys: []Verifier{PublicKey{}}, want: ErrSignature},
		"rotated secret":   {keys: []Verifier{other, secret}, want: nil},
		"another id":       {change: func(h http.Header) { h.Set(HeaderID, "msg_2") }, want: ErrSignature},
		"no id":            {change: func(h http.Header) { h.Del(HeaderID) }, want: ErrSignature},
		"no time":          {change: func(h http.Header) { h.Del(HeaderTimestamp) }, want: ErrSignature},
		"time moved":       {change: func(h http.Header) { h.Set(HeaderTimestamp, fmt.Sprint(vectorTime+1)) }, want: ErrSignature},
		"no signature":     {change: func(h http.Header) { h.Del(HeaderSignature) }, want: ErrSignature},
		"another version":  {change: func(h http.Header) { h.Set(HeaderSignature, "v2"+h.Get(HeaderSignature)[2:]) }, want: ErrSignature},
		"not base64":       {change: func(h http.Header) { h.Set(HeaderSignature, "v1,***") }, want: ErrSignature},
		"bad before good":  {change: func(h http.Header) { h.Set(HeaderSignature, "v1,AAAA v3,x "+h.Get(HeaderSignature)) }, want: nil},
		"too old":          {now: at.Add(Tolerance + time.Second), want: ErrTimestamp},
		"from the future":  {now: at.Add(-Tolerance - time.Second), want: ErrTimestamp},
		"just old enough":  {now: at.Add(Tolerance), want: nil},
		"time with spaces": {change: func(h http.Header) { h.Set(HeaderTimestamp, " 1") }, want: ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, b, now, keys := good(), body, at, []Verifier{secret}
			if c.change != nil {
				c.change(h)
			}
			if c.body != "" {
				b = []byte(c.body)
			}
			if !c.now.IsZero() {
				now = c.now
			}
			if c.keys != nil {
				keys = c.keys
			}
			err := Verify(h, b, now, keys...)
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestParse_refuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "whsec_", "whsec_AAAA", "whsec_!!", "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))} {
		_, err := ParseSecret(s)
		require.Error(t, err, s)
		if len(s) > 8 {
			require.NotContains(t, err.Error(), s[6:])
		}
	}
	_, err := ParsePrivateKey("whsk_" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	require.Error(t, err)
	_, err = ParsePublicKey("whpk_")
	require.Error(t, err)
	key := NewPrivateKey()
	public, err := ParsePublicKey(key.Public().String())
	require.NoError(t, err)
	require.Equal(t, key.Public(), public)
	again, err := ParsePrivateKey(key.Reveal())
	require.NoError(t, err)
	require.Equal(t, key, again)
	_, err = Sign("msg.1", time.Unix(1, 0), nil, NewSecret())
	require.Error(t, err, "a dot in the id would let two messages share a signature")
	_, err = Sign("msg_1", time.Unix(1, 0), nil)
	require.Error(t, err)
}

// receiver checks signatures by the text of the specification, with none of our code.
func receiver(t *testing.T, secret Secret, public PublicKey) (func(r *http.Request) []byte, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Reveal(), "whsec_"))
	require.NoError(t, err)
	pub, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public.String(), "whpk_"))
	require.NoError(t, err)
	return func(r *http.Request) []byte {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		signed := r.Header.Get("Webhook-Id") + "." + r.Header.Get("Webhook-Timestamp") + "." + string(body)
		m := hmac.New(sha256.New, raw)
		m.Write([]byte(signed))
		parts := strings.Split(r.Header.Get("Webhook-Signature"), " ")
		require.Len(t, parts, 2)
		require.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)), parts[0])
		sig, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[1], "v1a,"))
		require.NoError(t, err)
		require.True(t, ed25519.Verify(pub, []byte(signed), sig))
		n.Add(1)
		return body
	}, &n
}

func TestSender(t *testing.T) {
	t.Parallel()
	secret, private := NewSecret(), NewPrivateKey()
	check, seen := receiver(t, secret, private.Public())
	var elsewhere atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if string(check(r)) != `{"x":1}` || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", MaxAnswer*3))
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "17")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	s := Sender{Client: srv.Client(), Now: time.Now, UserAgent: "test"}

	a, err := s.Send(t.Context(), srv.URL+"/ok", "msg_1", []byte(`{"x":1}`), secret, private)
	require.NoError(t, err)
	require.True(t, a.OK())
	require.Len(t, a.Body, MaxAnswer)
	require.EqualValues(t, 1, seen.Load())

	a, err = s.Send(t.Context(), srv.URL+"/moved", "msg_1", nil, secret)
	require.NoError(t, err)
	require.False(t, a.OK())
	require.Equal(t, http.StatusTemporaryRedirect, a.Status)
	require.Zero(t, elsewhere.Load())

	a, err = s.Send(t.Context(), srv.URL+"/busy", "msg_1", nil, secret)
	require.NoError(t, err)
	require.Equal(t, 17*time.Second, a.RetryAfter)
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "abc": 0, "12": 12 * time.Second, "99999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		require.Equal(t, want, RetryAfter(in, now), in)
	}
}
