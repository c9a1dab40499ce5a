package plugin

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
)

// staff is a directory of one principal.
type staff struct {
	asked []rp.DirectoryQuery
	err   error
}

func (s *staff) Entry(_ context.Context, q rp.DirectoryQuery) (*rp.DirectoryEntry, error) {
	s.asked = append(s.asked, q)
	if s.err != nil || q.Value != "alex" {
		return nil, s.err
	}
	return &rp.DirectoryEntry{ID: "p1", Groups: []string{"gold"}}, nil
}

func TestPrincipalsNeedADirectory(t *testing.T) {
	c, _ := load(t, "{"+base+`,"auth_methods":["bearer"],"principals":{"enabled":true,"principal_by":"badge","principal_claim":["user","badge"],"error_on_miss":false}}`)
	env := Environment{Providers: op.NewRegistry(op.Environment{Now: time.Now}), Caches: NewCaches(time.Now), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if got := New(&env).compile(c); got.err == nil || !strings.Contains(got.err.Error(), "principals.enabled") || !strings.Contains(got.err.Error(), "directory") {
		t.Errorf("without a directory: %v", got.err)
	}
	env.Directory = &staff{}
	got := New(&env).compile(c)
	if got.err != nil {
		t.Fatal(got.err)
	}
	p := got.policy.Principals
	if p.Directory == nil || p.Name != "default" || p.By != "badge" || strings.Join(p.Claim, ".") != "user.badge" || !p.Optional || !p.MatchConsumer || !p.MatchGroups {
		t.Errorf("policy %+v", p)
	}
	c, _ = load(t, "{"+base+`,"auth_methods":["bearer"]}`)
	if got := New(&env).compile(c); got.err != nil || got.policy.Principals.Directory != nil {
		t.Errorf("principals are looked up though they are off: %v", got.err)
	}
}

func TestPrincipalsAreKept(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	dir, negative := &staff{}, 10*time.Second
	k := &keptDirectory{directory: dir, cache: NewCaches(func() time.Time { return now }).Principals, ttl: time.Minute, negative: &negative}
	ask := func(value string, want bool, calls int) {
		t.Helper()
		e, err := k.Entry(t.Context(), rp.DirectoryQuery{Directory: "default", Issuer: "https://idp", Value: value})
		if err != nil || (e != nil) != want || len(dir.asked) != calls {
			t.Errorf("%s: %+v, %v after %d questions, want %d", value, e, err, len(dir.asked), calls)
		}
	}
	ask("alex", true, 1)
	ask("alex", true, 1)
	ask("blake", false, 2)
	ask("blake", false, 2)
	now = now.Add(10 * time.Second)
	ask("blake", false, 3) // cache_ttl_neg
	ask("alex", true, 3)
	now = now.Add(time.Minute)
	ask("alex", true, 4) // cache_ttl
	now = now.Add(time.Minute)
	dir.err = errors.New("away")
	if e, err := k.Entry(t.Context(), rp.DirectoryQuery{Directory: "default", Issuer: "https://idp", Value: "alex"}); err == nil || e != nil {
		t.Errorf("the directory is away: %+v, %v", e, err)
	}
}
