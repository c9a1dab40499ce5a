package rp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/claims"
)

// directory is Kong's consumers and groups, and what was asked of it.
type directory struct {
	consumers []Consumer
	groups    []string // nil: this Kong has none
	err       error
	asked     []string
}

func (d *directory) Consumer(_ context.Context, _ *Request, by ConsumerField, v string, fold bool) (*Consumer, error) {
	d.asked = append(d.asked, fmt.Sprintf("%s=%s,%v", by, v, fold))
	if d.err != nil {
		return nil, d.err
	}
	for i, c := range d.consumers {
		if by == ByID && c.ID == v || by == ByCustomID && c.CustomID == v || by == ByUsername && (c.Username == v || fold && strings.EqualFold(c.Username, v)) {
			return &d.consumers[i], nil
		}
	}
	return nil, nil
}

func (d *directory) ConsumerGroups(_ context.Context, _ *Request, names []string) ([]string, bool, error) {
	if d.err != nil {
		return nil, false, d.err
	}
	var known []string
	for _, n := range names {
		if slices.Contains(d.groups, n) {
			known = append(known, n)
		}
	}
	return known, d.groups != nil, nil
}

// The truth table of consumer mapping (behaviour.md 10.1): the first claim that
// is there counts, its values are looked up by each field in the given order.
func TestConsumerMappingTruthTable(t *testing.T) {
	all := []Consumer{{ID: "id-1", Username: "alex", CustomID: "crm-1"}, {ID: "id-2", Username: "crm-1", CustomID: "crm-2"}, {ID: "id-3", Username: "42", CustomID: ""}}
	byDefault := []ConsumerField{ByCustomID, ByUsername}
	two := []claims.Path{{"a"}, {"b", "c"}}
	for _, c := range []struct {
		name   string
		claims claims.Object
		paths  []claims.Path
		by     []ConsumerField
		fold   bool
		want   string // username; "" = none
		asked  string
	}{
		{"by custom_id", claims.Object{"a": "crm-2"}, two, byDefault, false, "crm-1", "custom_id=crm-2,false"},
		{"custom_id comes before username", claims.Object{"a": "crm-1"}, two, byDefault, false, "alex", "custom_id=crm-1,false"},
		{"the order may be turned", claims.Object{"a": "crm-1"}, two, []ConsumerField{ByUsername, ByCustomID}, false, "crm-1", "username=crm-1,false"},
		{"by username", claims.Object{"a": "alex"}, two, byDefault, false, "alex", "custom_id=alex,false username=alex,false"},
		{"by id", claims.Object{"a": "id-1"}, two, []ConsumerField{ByID}, false, "alex", "id=id-1,false"},
		{"not by a field that is not listed", claims.Object{"a": "alex"}, two, []ConsumerField{ByID, ByCustomID}, false, "", "id=alex,false custom_id=alex,false"},
		{"case counts", claims.Object{"a": "ALEX"}, two, byDefault, false, "", "custom_id=ALEX,false username=ALEX,false"},
		{"ignoring the case of usernames", claims.Object{"a": "ALEX"}, two, byDefault, true, "alex", "custom_id=ALEX,false username=ALEX,true"},
		{"never of a custom_id", claims.Object{"a": "CRM-2"}, two, []ConsumerField{ByCustomID}, true, "", "custom_id=CRM-2,false"},
		{"the second path where the first is absent", claims.Object{"b": map[string]any{"c": "alex"}}, two, []ConsumerField{ByUsername}, false, "alex", "username=alex,false"},
		{"the second path where the first is null", claims.Object{"a": nil, "b": map[string]any{"c": "alex"}}, two, []ConsumerField{ByUsername}, false, "alex", "username=alex,false"},
		{"not where the first fits nobody (U62)", claims.Object{"a": "none", "b": map[string]any{"c": "alex"}}, two, []ConsumerField{ByUsername}, false, "", "username=none,false"},
		{"a number", claims.Object{"a": 42.0}, two, []ConsumerField{ByUsername}, false, "42", "username=42,false"},
		{"each element of a list", claims.Object{"a": []any{"none", "", map[string]any{}, "alex"}}, two, []ConsumerField{ByUsername}, false, "alex", "username=none,false username=alex,false"},
		{"an empty text", claims.Object{"a": ""}, two, []ConsumerField{ByUsername}, false, "", ""},
		{"a text with blanks is one value", claims.Object{"a": "none alex"}, two, []ConsumerField{ByUsername}, false, "", "username=none alex,false"},
		{"an object", claims.Object{"a": map[string]any{"x": "alex"}}, two, []ConsumerField{ByUsername}, false, "", ""},
		{"a list of objects and lists", claims.Object{"a": []any{map[string]any{"x": "alex"}, []any{"alex"}}}, two, []ConsumerField{ByUsername}, false, "", ""},
		{"neither path", claims.Object{"x": "alex"}, two, byDefault, false, "", ""},
	} {
		for _, optional := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ",", optional), func(t *testing.T) {
				d := &directory{consumers: all}
				p := bearerPolicy(c.claims)
				p.Consumers, p.Consumer = d, ConsumerPolicy{Claims: c.paths, By: c.by, IgnoreCase: c.fold, Optional: optional}
				got := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
				if asked := strings.Join(d.asked, " "); asked != c.asked {
					t.Errorf("asked %q, want %q", asked, c.asked)
				}
				switch {
				case c.want == "" && !optional:
					if got.Respond == nil || got.Respond.Status != 403 || got.Reason != "no_consumer" {
						t.Errorf("%+v %s", got.Respond, got.Reason)
					}
				case got.Respond != nil:
					t.Errorf("%+v %v", got.Respond, got.Err)
				case c.want == "":
					if v, ok := set(got, "X-Consumer-Username"); ok || got.Authenticate.Consumer != nil {
						t.Errorf("consumer %q", v)
					}
				default:
					if v, _ := set(got, "X-Consumer-Username"); v != c.want || got.Authenticate.Consumer == nil || got.Authenticate.Consumer.Username != c.want {
						t.Errorf("consumer %q, want %q", v, c.want)
					}
				}
			})
		}
	}
}

// The truth table of consumer groups (behaviour.md 10.2).
func TestConsumerGroupsTruthTable(t *testing.T) {
	for _, c := range []struct {
		name     string
		value    any
		known    []string
		optional bool
		want     string // X-Consumer-Groups; "403" = denied
	}{
		{"words", "gold silver", []string{"gold", "silver"}, false, "gold, silver"},
		{"a list", []any{"gold", "silver"}, []string{"gold", "silver"}, false, "gold, silver"},
		{"only those that Kong has", []any{"gold", "silver"}, []string{"silver"}, false, "silver"},
		{"none that Kong has", "bronze", []string{"gold"}, false, "403"},
		{"none that Kong has, optional", "bronze", []string{"gold"}, true, ""},
		{"no claim", nil, []string{"gold"}, false, "403"},
		{"no claim, optional", nil, []string{"gold"}, true, ""},
		{"an empty list", []any{}, []string{"gold"}, false, "403"},
		{"Kong without groups: the names as they are", "gold silver", nil, true, "gold, silver"},
		{"Kong without groups, no claim, optional", nil, nil, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := bearerPolicy(claims.Object{"tier": c.value})
			p.Consumers, p.Consumer = &directory{groups: c.known}, ConsumerPolicy{Groups: claims.Path{"tier"}, GroupsOptional: c.optional}
			d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}, "x-consumer-groups": {"gold"}}))
			if c.want == "403" {
				if d.Respond == nil || d.Respond.Status != 403 || d.Reason != "no_consumer_group" {
					t.Errorf("%+v %s", d.Respond, d.Reason)
				}
				return
			}
			if v, _ := set(d, "X-Consumer-Groups"); d.Respond != nil || v != c.want || strings.Join(d.Authenticate.ConsumerGroups, ", ") != c.want {
				t.Errorf("%+v, groups %q and %q, want %q", d.Respond, v, d.Authenticate.ConsumerGroups, c.want)
			}
		})
	}
}

// A lookup that fails is an error, never nobody: not optional, not anonymous.
func TestFailedLookupsAre500(t *testing.T) {
	for _, c := range []ConsumerPolicy{{Claims: []claims.Path{{"sub"}}, By: []ConsumerField{ByUsername}, Optional: true}, {Groups: claims.Path{"sub"}, GroupsOptional: true}} {
		p := bearerPolicy(claims.Object{"sub": "s"})
		p.Consumers, p.Consumer, p.Anonymous = &directory{err: errors.New("down")}, c, "nobody"
		if d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}})); d.Respond == nil || d.Respond.Status != 500 {
			t.Errorf("%+v %s", d.Respond, d.Reason)
		}
	}
}
