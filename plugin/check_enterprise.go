package plugin

import (
	"slices"
	"strings"

	"kong-openid-connect/internal/param"
)

// entityFields are the fields of a plugin entity that open-source Kong has;
// decK's own begin with an underscore.
var entityFields = []string{"config", "consumer", "created_at", "enabled", "id", "instance_name", "name", "protocols", "route", "service", "tags", "updated_at", "ws_id"}

// enterpriseFields are those that only Kong Enterprise has, with what to do.
var enterpriseFields = map[string]string{
	"condition": "give the request that shall go through it a route of its own",
	"ordering":  "take it out: the plugin runs at its priority, after what is above 1050",
	"partials":  "write the partial's members into the record that path names, such as config.redis",
}

// entity refuses the fields of a plugin entity that open-source Kong refuses.
func (k *checker) entity(p *param.Node, path string) {
	for _, e := range p.Entries {
		do, enterprise := enterpriseFields[e.Key]
		switch {
		case enterprise && e.Value.Kind != param.NullKind:
			k.fail(path+e.Key, e.Line, do, "is a field of Kong Enterprise, which open-source Kong refuses")
		case !enterprise && e.Key != "consumer_group" && !strings.HasPrefix(e.Key, "_") && !slices.Contains(entityFields, e.Key):
			k.fail(path+e.Key, e.Line, "take it out", "is no field of a plugin, so Kong refuses it")
		}
	}
}

// enterpriseVaults are the vaults that only Kong Enterprise brings.
var enterpriseVaults = []string{"aws", "azure", "conjur", "gcp", "hcv"}

// vaults notes which prefixes of references lead to a vault of Enterprise's.
func (k *checker) vaults(doc *param.Node) {
	k.foreign = map[string]string{}
	for _, name := range enterpriseVaults {
		k.foreign[name] = name
	}
	for _, v := range items(doc.Get("vaults")) {
		prefix, name := text(v.Get("prefix")), text(v.Get("name"))
		if delete(k.foreign, prefix); slices.Contains(enterpriseVaults, name) {
			k.foreign[prefix] = name
		}
	}
}

// references warns of those that open-source Kong cannot resolve.
func (k *checker) references(refs []param.Reference, found param.Findings) param.Findings {
	for _, r := range refs {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(r.Text, "{vault://"), "/")
		if name := k.foreign[strings.TrimSuffix(prefix, "}")]; name != "" {
			found = append(found, param.Finding{
				Severity: param.Warning, Path: r.Path,
				Message: "is in a vault " + name + ", which open-source Kong does not bring, so that every request is answered with 500",
				Do:      "bring the value as an environment variable of Kong's and write {vault://env/name}, or install that vault",
			})
		}
	}
	return found
}
