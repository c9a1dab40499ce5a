package provider

import (
	"crypto/sha256"
	"net/http"
)

// cookieName differs between providers of one machine: cookies know no ports.
func (p *Provider) cookieName() string {
	sum := sha256.Sum256([]byte(p.Issuer()))
	return "provider_login_" + b64(sum[:6])
}

func (p *Provider) cookie(value string, maxAge int) *http.Cookie {
	issuer := p.issuer.Load()
	return &http.Cookie{
		Name: p.cookieName(), Value: value, Path: issuer.Path + "/", MaxAge: maxAge, HttpOnly: true,
		Secure: issuer.Scheme == "https", SameSite: http.SameSiteLaxMode,
	}
}

// loginOf finds the browser's login; nil if there is none that still counts.
func (p *Provider) loginOf(r *http.Request) *login {
	c, err := r.Cookie(p.cookieName())
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.state.logins[c.Value]
	if l == nil || !p.now().Before(l.at.Add(loginTTL)) {
		return nil
	}
	return l
}

// login takes the login page's form.
func (p *Provider) login(w http.ResponseWriter, x *exchange) {
	now := p.now()
	id := x.body.Get("login")
	p.mu.Lock()
	page := p.state.pending[id]
	p.mu.Unlock()
	if page == nil || !now.Before(page.expires) {
		p.page(w, http.StatusBadRequest, "message", message{"This page has expired", "Go back to the application and log in again."})
		return
	}
	user := p.user(x.body.Get("username"))
	if user == nil || !same(user.Password, x.body.Get("password")) {
		p.page(w, http.StatusUnauthorized, "login", loginPage{
			Action: p.Issuer() + "/login", Client: page.request.client.Name, Login: id,
			Username: x.body.Get("username"), Wrong: true,
		})
		return
	}
	l := &login{sid: random(), user: user, at: now, clients: map[string]bool{}}
	// A login that is renewed keeps its sid, so that single logout still finds
	// everything that came from it.
	old := p.loginOf(x.r)
	value := random()
	p.mu.Lock()
	delete(p.state.pending, id)
	if old != nil && old.user.Username == user.Username {
		l.sid = old.sid
		for name := range old.clients {
			l.clients[name] = true
		}
	}
	p.state.drop(now)
	p.state.logins[value] = l
	p.mu.Unlock()
	http.SetCookie(w, p.cookie(value, int(loginTTL.Seconds())))
	req := page.request
	p.consent(w, &req, l)
}
