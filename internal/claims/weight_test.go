package claims_test

import (
	"runtime"
	"strings"
	"testing"

	"kong-openid-connect/internal/claims"
)

// TestWeightIsNoLessThanMemory holds the estimate against the heap, for claims of
// usual shape and for those that take the most memory for their text.
func TestWeightIsNoLessThanMemory(t *testing.T) {
	list := func(of string, n int) string {
		return `{"a":[` + strings.TrimSuffix(strings.Repeat(of+",", n), ",") + `]}`
	}
	var wide strings.Builder
	for i := range 1000 {
		wide.WriteString(`"k` + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)) + `":1,`)
	}
	for name, c := range map[string]struct {
		text string
		over int // how many times more than the heap the estimate is at most
	}{
		"usual":          {`{"sub":"alex","iss":"https://idp.example.com/realms/main","aud":["kong","account"],"exp":1800000000,"iat":1700000000,"email":"alex@example.com","email_verified":true,"realm_access":{"roles":["admin","user"]},"resource_access":{"kong":{"roles":["a","b"]}},"scope":"openid email profile"}`, 2},
		"empty lists":    {list("[]", 1200), 3},
		"empty objects":  {list("{}", 1200), 3},
		"small objects":  {list(`{"":1}`, 500), 2},
		"deep objects":   {list(strings.Repeat(`{"":`, 28)+"1"+strings.Repeat("}", 28), 25), 2},
		"nine members":   {list(`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}`, 80), 3},
		"fifteen":        {list(`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1}`, 80), 3},
		"numbers":        {list("1", 1800), 3},
		"truths":         {list("true", 900), 3},
		"strings":        {list(`""`, 1200), 3},
		"a long number":  {list(strings.Repeat("1", 20_000), 1), 2},
		"a long string":  {list(`"`+strings.Repeat("x", 20_000)+`"`, 1), 2},
		"a wide object":  {"{" + wide.String() + `"z":1}`, 3},
		"lists in lists": {list("[[1],[1]]", 300), 3},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 200
			kept := make([]claims.Object, n)
			heap := func() int {
				runtime.GC()
				runtime.GC()
				var s runtime.MemStats
				runtime.ReadMemStats(&s)
				return int(s.HeapAlloc)
			}
			before := heap()
			for i := range kept {
				var err error
				if kept[i], err = claims.Decode([]byte(c.text)); err != nil {
					t.Fatal(err)
				}
			}
			took := (heap() - before) / n
			weight := kept[0].Weight()
			t.Logf("%d bytes of text, %d in memory, %d by the estimate", len(c.text), took, weight)
			if weight < took || weight > c.over*took {
				t.Errorf("%d bytes in memory, %d by the estimate", took, weight)
			}
			runtime.KeepAlive(kept)
		})
	}
}
