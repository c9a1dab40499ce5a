package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "kong-openid-connect/"

// owners says which packages may import a library. A library that is not
// listed here may be imported anywhere.
var owners = map[string][]string{
	"github.com/Kong/go-pdk":              {"plugin", "internal/kong", "internal/sandbox/gateway"},
	"github.com/go-jose/go-jose/v4":       {"internal/token", "internal/jwks", "internal/op", "internal/sandbox/provider", "internal/e2e/harness"},
	"github.com/coreos/go-oidc/v3":        {"internal/op", "internal/sandbox/provider"},
	"golang.org/x/crypto/ocsp":            {"internal/certcheck", "internal/e2e/harness"},
	"golang.org/x/oauth2":                 {"internal/op", "internal/sandbox/provider"},
	"github.com/gorilla/securecookie":     {"internal/session"},
	"github.com/redis/go-redis/v9":        {"internal/redisconn"},
	"github.com/jackc/pgx/v5":             {"internal/store/postgres", "internal/kong/entities/postgres"},
	"github.com/bradfitz/gomemcache":      {"internal/session/memcached"},
	"github.com/prometheus/client_golang": {"internal/admin", "internal/metrics"},
	"google.golang.org/protobuf":          {"internal/kong", "internal/sandbox/gateway"},
	"github.com/chromedp/chromedp":        {"internal/e2e"},
	"github.com/compose-spec/compose-go":  {"internal/supply"},
	"github.com/google/licensecheck":      {"internal/supply"},
	"github.com/CycloneDX/cyclonedx-go":   {"internal/supply"},
}

// layers says what a package of ours may import of ours. A package that is not
// listed may import anything but what the sandbox rule forbids.
var layers = map[string][]string{
	"internal/certcheck":   {"internal/fault"},
	"internal/claims":      {},
	"internal/token":       {"internal/claims"},
	"internal/fault":       {},
	"internal/metrics":     {},
	"internal/jwks":        {"internal/token", "internal/claims", "internal/fault"},
	"internal/param":       {},
	"internal/quiet":       {},
	"internal/session":     {"internal/claims"},
	"internal/rp":          {"internal/claims", "internal/token"},
	"internal/op":          {"internal/token", "internal/jwks", "internal/claims", "internal/fault"},
	"internal/kong/wire":   {},
	"internal/kong/pdkio":  {"internal/kong/wire", "internal/rp"},
	"internal/kong/server": {"internal/kong/pdkio", "internal/kong/wire", "internal/rp"},
	"internal/store":       {},
	"internal/roots":       {},
	"internal/redisconn":   {},

	"internal/store/postgres":    {"internal/store", "internal/roots"},
	"internal/session/redis":     {"internal/session", "internal/redisconn", "internal/store"},
	"internal/session/memcached": {"internal/session"},
	"internal/clustercache":      {"internal/redisconn"},
	"internal/replays":           {"internal/store", "internal/token"},
	"internal/sandbox":           {"internal/sandbox"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

// TestImportRules holds "imports run one way" and "each library has one owner"
// of the design, for code that is not a test.
func TestImportRules(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			checkOwner(t, name, imp)
			if own, ok := strings.CutPrefix(imp, module); ok {
				checkLayer(t, name, own)
			}
		}
	}
	if seen < 5 {
		t.Fatalf("only %d packages were looked at", seen)
	}
}

func checkOwner(t *testing.T, name, imp string) {
	for lib, by := range owners {
		if within(imp, lib) && !withinAny(name, by) {
			t.Errorf("%s imports %s, which belongs to %s", name, imp, strings.Join(by, ", "))
		}
	}
}

func checkLayer(t *testing.T, name, own string) {
	if within(own, "internal/sandbox") && !withinAny(name, []string{"internal/sandbox", "cmd/sandbox", "internal/e2e", "internal/bench"}) {
		t.Errorf("%s imports %s: the sandbox is the other side", name, own)
	}
	best, found := "", false
	for l := range layers {
		if within(name, l) && len(l) >= len(best) {
			best, found = l, true
		}
	}
	if !found || within(own, best) {
		return
	}
	if !withinAny(own, layers[best]) {
		t.Errorf("%s imports %s; it may import %v", name, own, layers[best])
	}
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func withinAny(path string, roots []string) bool {
	for _, r := range roots {
		if within(path, r) {
			return true
		}
	}
	return false
}
