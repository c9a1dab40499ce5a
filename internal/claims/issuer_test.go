package claims

import "testing"

func TestSameIssuer(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		same       bool
	}{
		{"equal", "https://op.test/r", "https://op.test/r", true},
		{"a trailing slash", "https://op.test/r/", "https://op.test/r", true},
		{"two of them", "https://op.test/r//", "https://op.test/r", false},
		{"another path", "https://op.test/r", "https://op.test/", false},
		{"another case", "https://op.test/R", "https://op.test/r", false},
		{"one is missing", "", "https://op.test", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if SameIssuer(c.a, c.b) != c.same || SameIssuer(c.b, c.a) != c.same {
				t.Errorf("%q and %q: same is not %v", c.a, c.b, c.same)
			}
		})
	}
}
