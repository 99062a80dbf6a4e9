package console

import (
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
)

// Options tunes a console. Kernel is required.
type Options struct {
	Kernel   *governance.Kernel
	Base     string // path prefix; default "/console", "/" for the root
	Product  string // name in the corner and in titles; default "Reeve"
	Sections []Section
	SignIn   string           // where nobody signed in is sent; default Base + "/signin"
	SignOut  string           // takes a POST; default Base + "/signout"
	Location *time.Location   // zone in which times are shown; default UTC
	Now      func() time.Time // default: the kernel's clock
	Logger   *slog.Logger     // default: the kernel's
	Secret   []byte           // signs flash messages; default: random, so that servers do not read each other's
	Stories  bool             // serves every state of every page at /_stories, with invented data
}

// console is what Options made.
type console struct {
	opts     Options
	kernel   *governance.Kernel
	base     string // "" or "/prefix"
	tpl      *template.Template
	sections []Section
	nav      []NavItem
	posts    map[string]bool // patterns that take a POST
	assets   *assets
	log      *slog.Logger
}

// New makes the console's handler. It serves everything under Options.Base and
// expects the caller in the request's context; see [governance.WithIdentity].
func New(opts *Options) (http.Handler, error) {
	if opts == nil || opts.Kernel == nil {
		return nil, errors.New("console: Options.Kernel is required")
	}
	c := &console{opts: *opts, kernel: opts.Kernel, posts: map[string]bool{}}
	if err := c.defaults(); err != nil {
		return nil, err
	}
	var err error
	if c.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	c.sections = append(c.kernelSections(), c.opts.Sections...)
	if c.tpl, err = c.parse(); err != nil {
		return nil, fmt.Errorf("console: templates: %w", err)
	}
	mux := http.NewServeMux()
	if err := c.mount(mux); err != nil {
		return nil, err
	}
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.fail(c.ctx(w, r), http.StatusForbidden, "This form was sent from another site.")
	}))
	return c.headers(protection.Handler(mux)), nil
}

func (c *console) defaults() error {
	o := &c.opts
	switch {
	case o.Base == "":
		o.Base = "/console"
	case !strings.HasPrefix(o.Base, "/"):
		return fmt.Errorf("console: Options.Base is %q, want a path such as /console", o.Base)
	}
	c.base = strings.TrimRight(o.Base, "/")
	if o.Product == "" {
		o.Product = "Reeve"
	}
	if o.SignIn == "" {
		o.SignIn = c.base + "/signin"
	}
	if o.SignOut == "" {
		o.SignOut = c.base + "/signout"
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Now == nil {
		o.Now = o.Kernel.Now
	}
	if o.Logger == nil {
		o.Logger = o.Kernel.Logger()
	}
	if c.log = o.Logger; c.log == nil {
		c.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if len(o.Secret) == 0 {
		o.Secret = make([]byte, 32)
		_, _ = rand.Read(o.Secret) // crypto/rand.Read never fails
	}
	return nil
}

// mount registers every route; a wrong one is named.
func (c *console) mount(mux *http.ServeMux) error {
	var errs []error
	seen, names := map[string]bool{}, map[string]bool{}
	for _, s := range c.sections {
		if s.Name == "" || names[s.Name] {
			errs = append(errs, fmt.Errorf("console: section name %q is empty or taken", s.Name))
		}
		names[s.Name] = true
		c.nav = append(c.nav, s.Nav...)
		for _, r := range s.Routes {
			method, path, err := r.check()
			if err == nil && seen[r.Pattern] {
				err = errors.New("is registered twice")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("console: section %s: route %q: %w", s.Name, r.Pattern, err))
				continue
			}
			seen[r.Pattern] = true
			if method == http.MethodPost {
				c.posts[path] = true
			}
			mux.Handle(method+" "+c.muxPath(path), c.handle(r))
		}
	}
	for _, n := range c.nav {
		if n.Title == "" || n.Path == "" || !slices.Contains(groups, n.Group) {
			errs = append(errs, fmt.Errorf("console: nav entry %q: title, path and a known group are required", n.Title))
		}
	}
	slices.SortStableFunc(c.nav, func(a, b NavItem) int {
		if d := slices.Index(groups, a.Group) - slices.Index(groups, b.Group); d != 0 {
			return d
		}
		return a.Order - b.Order
	})
	mux.Handle("GET "+c.base+"/static/", http.HandlerFunc(c.serveAsset))
	if c.base != "" {
		// A host mounts a subtree, "/console/", and its mux sends "/console" there: the home
		// page is the one with the slash.
		mux.HandleFunc("GET "+c.base, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, c.url("/"), http.StatusMovedPermanently)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		x := c.ctx(w, r)
		if x.Identity.Actor.ID == "" { // an address says nothing to strangers, not even that it is wrong
			c.toSignIn(x)
			return
		}
		c.fail(x, http.StatusNotFound, "")
	})
	return errors.Join(errs...)
}

func (c *console) muxPath(path string) string {
	if path == "/" {
		return c.base + "/{$}"
	}
	return c.base + path
}

const policyCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func (c *console) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policyCSP)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// maxForm bounds what a POST may carry.
const maxForm = 1 << 20

func (c *console) handle(r Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Body = http.MaxBytesReader(w, req.Body, max(maxForm, r.MaxBody))
		x := c.ctx(w, req)
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it like this
					panic(p)
				}
				c.failErr(x, fmt.Errorf("panic: %v", p))
			}
		}()
		if x.Identity.Actor.ID == "" && !r.Public {
			c.toSignIn(x)
			return
		}
		if q, err := url.QueryUnescape(req.URL.RawQuery); err != nil || !storable(q) || !storable(req.URL.Path) {
			c.fail(x, http.StatusNotFound, "The address contains what is no text.")
			return
		}
		if r.Permission != "" {
			if err := x.Authorize(r.Permission, governance.Target{}); err != nil {
				c.failErr(x, err)
				return
			}
		}
		switch {
		case r.Serve != nil:
			if err := r.Serve(x, w); err != nil {
				c.failErr(x, err)
			}
		case r.Post != nil:
			c.post(x, r)
		default:
			v, err := r.Page(x)
			if err != nil {
				c.failErr(x, err)
				return
			}
			c.render(x, v)
		}
	})
}

func (c *console) toSignIn(x *Ctx) {
	to := c.opts.SignIn
	if x.R.Method == http.MethodGet {
		to = withQuery(to, "next", x.R.URL.RequestURI())
	}
	http.Redirect(x.w, x.R, to, http.StatusSeeOther)
}

// post runs a form, then redirects: reloading never sends it twice.
func (c *console) post(x *Ctx, r Route) {
	if err := x.parseForm(r.MaxBody); err != nil {
		c.failErr(x, err)
		return
	}
	done, err := r.Post(x)
	var held *governance.ApprovalRequiredError
	switch {
	case err == nil:
	case errors.As(err, &held):
		done = Done{To: "/approvals/" + held.Approval.String(), Flash: "Held for approval. Nothing has happened yet.", Tone: ToneWarn}
	case r.Back != nil && len(fieldErrors(err)) > 0:
		x.errs = fieldErrors(err)
		v, pageErr := r.Back(x)
		if pageErr != nil {
			c.failErr(x, pageErr)
			return
		}
		v.Status = http.StatusUnprocessableEntity
		c.render(x, v)
		return
	default:
		c.failErr(x, err)
		return
	}
	if done.Flash != "" {
		c.setFlash(x, done.Tone, done.Flash)
	}
	to := done.To
	if to == "" {
		to = "/"
	}
	if !done.Absolute {
		to = c.url(to)
	}
	http.Redirect(x.w, x.R, to, http.StatusSeeOther)
}
