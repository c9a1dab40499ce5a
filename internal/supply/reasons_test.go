package supply

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// statuses are what a kind of error is answered with.
var statuses = map[string]string{"": "500", "Unexpected": "500", "Unauthorized": "401", "Forbidden": "403", "Invalid": "400", "Unavailable": "503"}

// composed are reasons that are put together while the program runs.
var composed = strings.Fields(`missing_scopes missing_audience missing_groups missing_roles
	invalid_dpop_proof use_dpop_nonce invalid_token`)

// reasons returns the words for which requests are denied, each with the
// statuses that stand beside it in the sources; "" where a function adds it.
func reasons(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	add := func(e ast.Expr, status string) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			word, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			if all[word] == nil {
				all[word] = map[string]bool{}
			}
			all[word][status] = true
		}
	}
	for _, dir := range []string{"internal/rp", "plugin"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					if lastName(n.Type) != "Error" {
						break
					}
					kind := ""
					var reason ast.Expr
					for _, e := range n.Elts {
						pair, ok := e.(*ast.KeyValueExpr)
						if !ok {
							continue
						}
						switch lastName(pair.Key) {
						case "Kind":
							kind = lastName(pair.Value)
						case "Reason":
							reason = pair.Value
						}
					}
					add(reason, statuses[kind])
				case *ast.CallExpr:
					// The functions within functions that make such an error.
					switch lastName(n.Fun) {
					case "deny", "refuse", "notProven", "notAccepted", "u":
						if len(n.Args) > 1 {
							add(n.Args[0], "")
						}
					}
				}
				return true
			})
		}
	}
	return all
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// TestReasons: whoever reads a reason in a log at night finds it in the page
// about them, with the status that it has.
func TestReasons(t *testing.T) {
	known := reasons(t)
	if len(known) < 50 {
		t.Fatalf("only %d reasons are found", len(known))
	}
	for _, word := range composed {
		known[word] = map[string]bool{"": true}
	}
	_, page, _ := strings.Cut(read(t, "docs/observability.md"), "\n## Reasons\n")
	page, _, _ = strings.Cut(page, "\n## ")
	told := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\| ([^|]*) \\|").FindAllStringSubmatch(page, -1) {
		for _, word := range regexp.MustCompile("`([a-z_0-9]+)`").FindAllStringSubmatch(row[1], -1) {
			told[word[1]] = row[2]
			if known[word[1]] == nil {
				t.Errorf("the page has the reason %s, which there is not", word[1])
			}
		}
	}
	for word, with := range known {
		text, there := told[word]
		if !there {
			t.Errorf("the page lacks the reason %s, status %v", word, with)
			continue
		}
		for status := range with {
			if !strings.Contains(text, status) {
				t.Errorf("the page says that %s is %s, and it is %s", word, text, status)
			}
		}
	}
}
