package main

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/backing"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/token"
)

func TestStatusShowsCounts(t *testing.T) {
	p := quietProcess(t)
	p.env.Tokens.Put(token.NewCacheKey("x", [32]byte{}, 0), &token.Token{Raw: "x"})
	p.env.Tokens.Get(token.NewCacheKey("y", [32]byte{}, 0))
	p.metrics.Request("bearer", "allowed")(time.Millisecond)
	p.metrics.ProviderCall("key set", 200, time.Millisecond)
	rows := map[string][][]string{}
	for _, table := range p.status(time.Now(), backing.Discovery{Store: p.backing.Store})(t.Context()).Tables {
		rows[table.Title] = checked(t, table)
	}
	for title, want := range map[string][]string{
		"Requests":           {"bearer", "allowed", "1"},
		"Calls to providers": {"key_set", "2xx", "1"},
		"Caches":             {"verified", "1", fmt.Sprintf("%d B", p.env.Tokens.Weight()), "0", "1"},
	} {
		if !slices.ContainsFunc(rows[title], func(row []string) bool { return slices.Equal(row, want) }) {
			t.Errorf("%s: %v is not among %v", title, want, rows[title])
		}
	}
}

// checked returns the rows of a table, each of which must fill its columns.
func checked(t *testing.T, table admin.Table) [][]string {
	t.Helper()
	for _, row := range table.Rows {
		if len(row) != len(table.Head) {
			t.Errorf("%s: a row %v under %v", table.Title, row, table.Head)
		}
	}
	return table.Rows
}

func TestSize(t *testing.T) {
	for bytes, want := range map[float64]string{0: "0 B", 518: "518 B", 1024: "1 KiB", 23892: "23 KiB", 64 << 20: "64 MiB", 1.5 * (1 << 30): "1.5 GiB"} {
		if got := size(bytes); got != want {
			t.Errorf("%v is %s, not %s", bytes, got, want)
		}
	}
}

func TestRevocationsAreCounted(t *testing.T) {
	p := quietProcess(t)
	now := time.Now()
	if err := p.env.Revocations.Revoke(t.Context(), session.SubjectKey("https://idp.example.com", "alex"), now, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRecorder()
	p.metrics.Handler().ServeHTTP(r, httptest.NewRequest("GET", "/", nil))
	if !strings.Contains(r.Body.String(), "\nopenid_connect_revocations 1\n") {
		t.Errorf("%.2000s", r.Body)
	}
}
