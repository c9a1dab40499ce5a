package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
)

// app edits a configuration into that of another application with the same cookie.
func app(audience string, digest byte) func(*session.Config) {
	return func(o *session.Config) { o.Audience, o.Digest[0] = audience, digest }
}

func TestSeveralApplicationsInOneCookie(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		shop, wiki := c.manager(t, in, app("shop", 1)), c.manager(t, in, app("wiki", 2))
		other := c.manager(t, in, app("wiki", 3), func(o *session.Config) { o.Secret = []byte("of another issuer") })
		b := newBrowser(t)
		b.login(shop, "alex", "shop data")
		b.login(wiki, "alex", "wiki data")
		b.login(other, "al", "other data")
		if len(b.cookies) != 1 {
			t.Fatalf("cookies: %v", b.cookies)
		}
		check := func() {
			t.Helper()
			b.has(shop, "alex", "shop data")
			b.has(wiki, "alex", "wiki data")
			b.has(other, "al", "other data")
		}
		check()
		c.pass(10 * time.Minute)
		b.touch(shop)
		b.touch(other)
		check()
		c.pass(10 * time.Minute) // each has timers of its own
		b.hasNot(wiki)
		b.has(shop, "alex", "shop data")
		b.login(wiki, "doe", "wiki data")

		s := b.has(wiki, "doe", "wiki data")
		set, err := wiki.Destroy(t.Context(), b.input(), s)
		b.take(set, err)
		b.hasNot(wiki)
		b.has(shop, "alex", "shop data")
		b.has(other, "al", "other data")
		for _, m := range []*session.Manager{other, shop} {
			set, err = m.Destroy(t.Context(), b.input(), nil)
			b.take(set, err)
		}
		if len(b.cookies) != 0 {
			t.Fatalf("the last logout leaves %v", b.cookies)
		}
	})
}

func TestTwoConfigurationsOfOneAudienceDoNotTakeTurns(t *testing.T) {
	c := newClock()
	lax, strict := c.manager(t, app("default", 1)), c.manager(t, app("default", 2))
	b := newBrowser(t)
	b.login(lax, "alex", "lax")
	b.hasNot(strict, session.OtherConfiguration)
	b.login(strict, "alex", "strict")
	b.has(lax, "alex", "lax")
	b.has(strict, "alex", "strict")
}

func TestLogoutOnOneRouteEndsTheWholeAudience(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		one, two := c.manager(t, in, app("default", 1)), c.manager(t, in, app("default", 2))
		logout := c.manager(t, in, app("default", 3)) // has no session itself
		b := newBrowser(t)
		b.login(one, "alex", "1")
		b.login(two, "alex", "2")
		copied := b.copy()
		set, err := logout.Destroy(t.Context(), b.input(), nil)
		b.take(set, err)
		if len(b.cookies) != 0 {
			t.Fatalf("left: %v", b.cookies)
		}
		if c.ends(in) {
			copied.hasNot(one, session.Revoked)
			copied.hasNot(two, session.Revoked, session.OtherConfiguration)
		}
	})
}

func TestEnforceSameSubject(t *testing.T) {
	enforce := func(o *session.Config) { o.EnforceSameSubject = true }
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		shop, wiki, blog := c.manager(t, in, app("shop", 1)), c.manager(t, in, app("wiki", 1), enforce), c.manager(t, in, app("blog", 1))
		b := newBrowser(t)
		b.login(shop, "alex", "shop")
		b.login(blog, "doe", "blog")
		b.login(wiki, "alex", "wiki")
		b.has(shop, "alex", "shop")
		b.hasNot(blog)
		b.login(wiki, "doe", "wiki")
		b.hasNot(shop)
		b.has(wiki, "doe", "wiki")
	})
}

func TestApplicationsBeyondTheLimitGiveWay(t *testing.T) {
	c := newClock()
	b := newBrowser(t)
	var apps []*session.Manager
	for i := range 12 {
		m := c.manager(t, app(fmt.Sprint("app", i), byte(i)))
		apps = append(apps, m)
		b.login(m, "alex", noise(1500))
		if line := len(b.input().Cookies[0]) + 10; line > 8192 {
			t.Fatalf("a line of %d bytes after %d applications", line, i+1)
		}
		b.has(m, "alex", noise(1500))
	}
	b.has(apps[10], "alex", noise(1500))
	b.hasNot(apps[0])
}

func TestDeadSegmentsAreLeftOut(t *testing.T) {
	c := newClock()
	old, m := c.manager(t, app("default", 1)), c.manager(t, app("default", 2))
	b := newBrowser(t)
	b.login(old, "alex", noise(3000))
	c.pass(time.Hour)
	b.login(m, "alex", "data")
	if n := len(b.cookies["session"]); n > 350 || len(b.cookies) != 1 {
		t.Fatalf("%d cookies, the first of %d bytes", len(b.cookies), n)
	}
}

func TestALaxRouteCannotMakeSessionsForAStrictOne(t *testing.T) {
	c := newClock()
	lax, strict := c.manager(t, app("default", 1)), c.manager(t, app("default", 2))
	b := newBrowser(t)
	s := b.login(lax, "alex", "data")
	b.hasNot(strict, session.OtherConfiguration)
	if got, why, err := strict.OpenSealed(t.Context(), b.input(), s.Sealed()); got != nil || err != nil {
		t.Fatal(why, err)
	}
}

func TestHostileSegments(t *testing.T) {
	c := newClock()
	m := c.manager(t, func(o *session.Config) { o.MaxHeaderLine = 60 << 10 })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	own := b.cookies["session"][1:]
	junk := strings.Repeat("A", 256)
	b.cookies["session"] = "1" + strings.Repeat(junk+"~", 7) + own
	b.has(m, "alex", "data")
	b.cookies["session"] = "1" + strings.Repeat(junk+"~", 8) + own // more than is looked at
	b.hasNot(m)
	b.cookies["session"] = "1" + strings.Repeat(junk+"~", 7) + own
	b.login(m, "alex", "data")
	if n := strings.Count(b.cookies["session"], "~"); n > 7 {
		t.Fatalf("%d segments are handed on", n+1)
	}
}

func TestASubjectTooLong(t *testing.T) {
	m := newClock().manager(t)
	_, err := m.Save(t.Context(), session.Input{}, session.New(strings.Repeat("s", 5000), nil))
	var large *session.TooLargeError
	if err == nil || errors.As(err, &large) {
		t.Fatal(err)
	}
}
