package param

import (
	"strings"
	"testing"
)

// color is an enumeration.
type color string

func (color) OneOf() []string { return []string{"red", "green"} }

// node is a member of a list.
type node struct {
	Host string `kong:"host" default:"127.0.0.1" since:"1" doc:"The host of a node."`
	Port Port   `kong:"port" default:"6379" since:"1" doc:"The port of a node."`
	Key  Secret `kong:"key" since:"1" doc:"The key of a node."`
}

// inner is a record.
type inner struct {
	Name   string `kong:"name" default:"inner" since:"1" doc:"The name of a record."`
	Secret Secret `kong:"secret" since:"1" doc:"The secret of a record."`
}

func (*inner) EntityChecks() []Check {
	return []Check{{"mutually_required": []string{"name", "secret"}}}
}

// maybe is a record that may be absent.
type maybe struct {
	Need  string `kong:"need,required" since:"1" doc:"A member that is needed."`
	Extra bool   `kong:"extra" default:"true" since:"1" doc:"A member with a default."`
}

type basics struct {
	Issuer   string     `kong:"issuer,required,referenceable" since:"1" doc:"The issuer of tokens."`
	Scopes   []string   `kong:"scopes,nullable,referenceable" default:"openid" since:"1" doc:"Scopes that are asked for."`
	Colors   []color    `kong:"colors" default:"red green" since:"1" doc:"Colors that are known."`
	Color    color      `kong:"color" since:"1" doc:"A color or none."`
	Header   string     `kong:"header,nullable" default:"authorization:bearer" since:"1" doc:"A header or none."`
	Target   URL        `kong:"target" since:"1" doc:"A URL of something."`
	ID       UUID       `kong:"id" since:"1" doc:"The id of an entity."`
	Paths    [][]string `kong:"paths" since:"1" doc:"Paths of claims."`
	Password Secret     `kong:"password" since:"1" doc:"A password of someone."`
	Secrets  []Secret   `kong:"secrets" elemmin:"1" since:"1" doc:"Secrets by index."`
}

type rest struct {
	Leeway  float64           `kong:"leeway" default:"0" since:"1" doc:"Seconds of leeway."`
	Age     *float64          `kong:"age" since:"1" doc:"Seconds of age, or none."`
	Port    Port              `kong:"port" default:"80" since:"1" doc:"A port of something."`
	Count   *int              `kong:"count" between:"1,10" since:"1" doc:"A count of something."`
	Strict  *bool             `kong:"strict" since:"1" doc:"Strict, lax or undecided."`
	Verify  bool              `kong:"verify" default:"true" since:"1" doc:"Whether to verify."`
	Inner   inner             `kong:"inner" since:"1" doc:"A record with defaults."`
	Maybe   *maybe            `kong:"maybe" since:"1" doc:"A record that may be absent."`
	Nodes   []node            `kong:"nodes" min:"1" since:"1" doc:"Nodes of a cluster."`
	Labels  map[string]string `kong:"labels" since:"1" doc:"Labels of something."`
	OldName string            `kong:"old_name" since:"0" deprecated:"use header instead" doc:"The old spelling of header."`
	OldKey  Secret            `kong:"old_key" since:"0" refused:"old_key was removed: use password" deprecated:"use password" doc:"A key of old times."`
	Salt    string            `kong:"salt,auto" since:"1" doc:"A text that Kong makes."`
}

// sample has something of everything.
type sample struct {
	basics `group:"basics"`
	rest   `group:"rest"`
}

func sampleRecord(t testing.TB) *Record {
	t.Helper()
	r, err := Declare(sample{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDeclareRefusesWrongTags(t *testing.T) {
	for name, v := range map[string]any{
		"doc of 10 to 500 characters": struct {
			A string `kong:"a" since:"1" doc:"short"`
		}{},
		"since is expected": struct {
			A string `kong:"a" doc:"Long enough a text."`
		}{},
		"must be a pointer": struct {
			A bool `kong:"a" since:"1" doc:"Long enough a text."`
		}{},
		"unknown flag": struct {
			A string `kong:"a,wrong" since:"1" doc:"Long enough a text."`
		}{},
		"has no default": struct {
			A string `kong:"a" since:"1" default:"x" deprecated:"use b" doc:"Long enough a text."`
		}{},
		"is taken": struct {
			A string `kong:"a" since:"1" doc:"Long enough a text."`
			B string `kong:"a" since:"1" doc:"Long enough a text."`
		}{},
		"default is not one of": struct {
			A color `kong:"a" since:"1" default:"blue" doc:"Long enough a text."`
		}{},
		"no counterpart": struct {
			A chan int `kong:"a" since:"1" doc:"Long enough a text."`
		}{},
		"a kong tag is expected": struct{ A string }{},
		"is not a struct":        "text",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Declare(v); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("Declare: %v, want an error that says %q", err, name)
			}
		})
	}
}

func TestAllListsMembersUnderTheirPaths(t *testing.T) {
	all := map[string]*Field{}
	for _, f := range sampleRecord(t).All() {
		all[f.Path] = f
	}
	for path, want := range map[string]Type{
		"issuer": String, "nodes": Array, "nodes[].port": Integer, "inner.secret": String,
	} {
		if f := all[path]; f == nil || f.Type != want {
			t.Errorf("%q is %+v, want type %s", path, f, want)
		}
	}
	if g := all["inner.secret"].Group; g != "rest" {
		t.Errorf("a member's group is %q, want that of its record", g)
	}
}
