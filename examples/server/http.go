package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/reevehq/reeve/governance"
)

// metrics are the process's own numbers; every label has a bounded set of values.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	decided  *prometheus.CounterVec
	late     prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "reeve_http_request_seconds", Help: "Time of a request by area, method and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, []string{"area", "method", "status"}),
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "reeve_actions_decided_total", Help: "Guarded actions by effect."}, []string{"effect"}),
		late:    prometheus.NewCounter(prometheus.CounterOpts{Name: "reeve_ledger_late_total", Help: "Receipts without a leaf after 5 seconds."}),
	}
	m.registry.MustRegister(m.requests, m.decided, m.late, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// gauge adds a number that is read when the metrics are.
func (m *metrics) gauge(name, help string, read func(context.Context) (float64, error)) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		v, err := read(ctx)
		if err != nil {
			return -1
		}
		return v
	}))
}

func (m *metrics) hooks() governance.Hooks {
	return governance.Hooks{
		Decided: func(_ string, effect governance.Effect, _ time.Duration) {
			m.decided.WithLabelValues(string(effect)).Inc()
		},
		LateSeal: func(n int64) { m.late.Add(float64(n)) },
	}
}

// statusWriter remembers what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

const requestIDHeader = "X-Request-Id"

// observe gives every request an id, a log line and a place in the metrics, and
// turns a panic into a 500.
func observe(log *slog.Logger, m *metrics, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := uuid.Must(uuid.NewV7()).String()
		r.Header.Set(requestIDHeader, id) // ours, whatever was sent: logs must not be written by callers
		w.Header().Set(requestIDHeader, id)
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
				panic(p)
			}
			if p != nil {
				log.ErrorContext(r.Context(), "panic in a handler", "request_id", id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if sw.status == 0 {
					http.Error(sw, "The server could not do it. Request "+id, http.StatusInternalServerError)
				}
			}
			took := time.Since(start)
			m.requests.WithLabelValues(area(r.URL.Path), method(r.Method), strconv.Itoa(sw.status/100)+"xx").Observe(took.Seconds())
			log.DebugContext(r.Context(), "request", "request_id", id, "method", method(r.Method), "path", r.URL.Path, "status", sw.status, "ms", took.Milliseconds())
		}()
		next.ServeHTTP(sw, r)
	})
}

func area(path string) string {
	for _, a := range []string{"/v1/", "/console/", "/app/"} {
		if strings.HasPrefix(path, a) {
			return strings.Trim(a, "/")
		}
	}
	return "other"
}

func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}

// health answers /livez and /readyz.
type health struct {
	ready   func(context.Context) error
	closing atomic.Bool
}

func (h *health) livez(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }

func (h *health) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if h.closing.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	if err := h.ready(ctx); err != nil {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// forwarded are the headers by which a proxy tells for whom it asks.
var forwarded = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Real-Ip"}

// metricsFor keeps operational numbers on the machine: they are for loopback peers that
// ask for themselves, since a proxy on this machine is a loopback peer as well and asks
// for anybody. With a token only who knows it is answered, from wherever they ask.
func metricsFor(token string, next http.Handler) http.Handler {
	if token == "" {
		return loopbackOnly(next)
	}
	want := sha256.Sum256([]byte("Bearer " + token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		have := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if subtle.ConstantTimeCompare(have[:], want[:]) != 1 {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		ip := net.ParseIP(host)
		proxied := slices.ContainsFunc(forwarded, func(h string) bool { return len(r.Header.Values(h)) > 0 })
		if err != nil || ip == nil || !ip.IsLoopback() || proxied {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (m *metrics) handler(token string) http.Handler {
	return metricsFor(token, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
}

// listenAndServe serves until ctx ends, then lets running requests finish.
func listenAndServe(ctx context.Context, l net.Listener, h http.Handler, hc *health, grace time.Duration, log *slog.Logger) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, WriteTimeout: 120 * time.Second, IdleTimeout: 120 * time.Second,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	hc.closing.Store(true)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(fmt.Errorf("requests were still running after %s", grace), srv.Close())
	}
	return err
}
