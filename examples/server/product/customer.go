package product

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// A customer's own people sign in by a link and keep a cookie of the product, which no
// impersonation reads, sets or clears. Both are signed and say until when they hold;
// that the user is still active is looked at on every request.

const (
	customerCookie = "paperwork"
	signInFor      = 24 * time.Hour
	customerFor    = 12 * time.Hour
)

// SignInToken is the secret of a sign-in link for a customer's user, below
// "signin/" of the App. Whoever has it is that user: it is for the user's own mailbox,
// never for staff, who have impersonation.
func (s *Service) SignInToken(ctx context.Context, user string) (string, error) {
	if _, err := s.activeUser(ctx, user); err != nil {
		return "", err
	}
	return s.signUser("link", user, s.k.Now().Add(signInFor)), nil
}

func (s *Service) signUser(purpose, user string, until time.Time) string {
	body := base64.RawURLEncoding.EncodeToString([]byte(user)) + "." + strconv.FormatInt(until.Unix(), 10)
	return body + "." + base64.RawURLEncoding.EncodeToString(s.customerMAC(purpose, body))
}

func (s *Service) customerMAC(purpose, body string) []byte {
	mac := hmac.New(sha256.New, s.opts.LinkKey)
	_, _ = fmt.Fprintf(mac, "paperwork/%s/v1\n%s", purpose, body) // a hash takes everything
	return mac.Sum(nil)
}

// signedUser gives the active user of a text that signUser made.
func (s *Service) signedUser(ctx context.Context, purpose, text string) (User, error) {
	at := strings.LastIndexByte(text, '.')
	if at < 0 {
		return User{}, governance.ErrNotFound
	}
	body := text[:at]
	sum, err := base64.RawURLEncoding.DecodeString(text[at+1:])
	if err != nil || !hmac.Equal(sum, s.customerMAC(purpose, body)) {
		return User{}, governance.ErrNotFound
	}
	name, until, _ := strings.Cut(body, ".")
	user, err := base64.RawURLEncoding.DecodeString(name)
	unix, uerr := strconv.ParseInt(until, 10, 64)
	if err != nil || uerr != nil || !s.k.Now().Before(time.Unix(unix, 0)) {
		return User{}, governance.ErrNotFound
	}
	return s.activeUser(ctx, string(user))
}

func (s *Service) activeUser(ctx context.Context, id string) (User, error) {
	var row userRow
	err := s.k.DB().Read().NewSelect().Model(&row).Where("id = ? AND active", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return User{}, fmt.Errorf("user: %w", err)
	}
	return row.user(), nil
}

// seenEvery is how often a user's last visit is written.
const seenEvery = 5 * time.Minute

// customer is the user whose own cookie a request carries.
func (s *Service) customer(r *http.Request) (User, error) {
	c, err := r.Cookie(customerCookie)
	if err != nil {
		return User{}, governance.ErrNotFound
	}
	u, err := s.signedUser(r.Context(), "cookie", c.Value)
	if err != nil || s.k.Now().Sub(u.SeenAt) < seenEvery {
		return u, err
	}
	return u, s.k.DB().Do(r.Context(), func(ctx context.Context, tx *governance.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE product_user SET seen_at = ? WHERE id = ?", govdb.At(s.k.Now()), u.ID); err != nil {
			return fmt.Errorf("last visit of %s: %w", u.ID, err)
		}
		return nil
	})
}

func (u User) identity() governance.Identity {
	return governance.Identity{Actor: governance.Actor{ID: "product:" + u.ID, Kind: governance.ActorUser, Name: u.Name, Roles: []string{u.Role}}}
}

func (a *App) setCookie(w http.ResponseWriter, value string, age time.Duration) {
	c := &http.Cookie{Name: customerCookie, Value: value, Path: a.base, HttpOnly: true, Secure: a.secure, SameSite: http.SameSiteLaxMode, MaxAge: int(age / time.Second)}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// signInPage asks before it signs in: links are opened by more than people.
func (a *App) signInPage(w http.ResponseWriter, r *http.Request) {
	u, err := a.svc.signedUser(r.Context(), "link", r.PathValue("token"))
	v := &visit{w: w, r: r}
	if err != nil {
		a.fail(v, err)
		return
	}
	if err := a.show(v, http.StatusOK, "signin", "Sign in", "", map[string]any{"Name": u.Name, "Here": r.URL.Path}); err != nil {
		a.fail(v, err)
	}
}

func (a *App) signIn(w http.ResponseWriter, r *http.Request) {
	u, err := a.svc.signedUser(r.Context(), "link", r.PathValue("token"))
	if err != nil {
		a.fail(&visit{w: w, r: r}, err)
		return
	}
	a.setCookie(w, a.svc.signUser("cookie", u.ID, a.svc.k.Now().Add(customerFor)), customerFor)
	http.Redirect(w, r, a.base, http.StatusSeeOther)
}

func (a *App) signOut(w http.ResponseWriter, r *http.Request) {
	a.setCookie(w, "", 0)
	a.fail(&visit{w: w, r: r}, errSignedOut)
}
