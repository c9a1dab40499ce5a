package plugin

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"kong-openid-connect/internal/param"
)

// maxFile bounds what Check reads.
const maxFile = 16 << 20

// Check validates this plugin's configurations in a file without Kong: a
// declarative kong.yml (YAML or JSON; plugins at the top, in services and in
// routes), KongPlugin resources of Kubernetes, one plugin entity, or one bare
// configuration. filename is for the findings only. A file without a configuration
// of the plugin is an error, so that a wrong file does not pass for a good one.
func Check(r io.Reader, filename string) []param.Finding {
	_, found := Configurations(r, filename, nil)
	return found
}

// Configuration is one of a file.
type Configuration struct {
	Path   string // where it stands in the file
	Line   int    // 0 where that is not known
	Owner  string // whose plugin it is, as in "service app, route login"; "" where nobody has a name
	Config *Config
}

// Configurations is Check, and returns the configurations that are good as
// well. References to a vault are replaced by what resolve knows; nil for none.
func Configurations(r io.Reader, filename string, resolve func(reference string) (string, bool)) ([]Configuration, []param.Finding) {
	k := checker{resolve: resolve}
	found := k.check(r)
	for i := range found {
		found[i].File = filename
	}
	return k.good, found
}

func (k *checker) check(r io.Reader) param.Findings {
	fail := func(format string, args ...any) param.Findings {
		return param.Findings{{Severity: param.Error, Message: fmt.Sprintf(format, args...)}}
	}
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return fail("reading: %v", err)
	}
	if len(data) > maxFile {
		return fail("the file has more than %d bytes", maxFile)
	}
	var docs []*param.Node
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var doc *param.Node
		if doc, err = param.ParseJSON(data); err == nil {
			docs = append(docs, doc)
		}
	} else {
		docs, err = param.ParseYAML(data)
	}
	if err != nil {
		return fail("%v", err)
	}
	if at := bytes.Index(data, []byte("${{")); at >= 0 {
		k.found = append(k.found, param.Finding{
			Severity: param.Warning, Line: 1 + bytes.Count(data[:at], []byte{'\n'}),
			Message: "has templates of decK, which are taken as they stand", Do: "check what deck file render makes of it",
		})
	}
	for _, doc := range docs {
		k.document(doc)
	}
	if k.seen == 0 && len(k.found.Errors()) == 0 {
		return fail("there is no configuration of %s here: a kong.yml, a KongPlugin, a plugin entity or a bare configuration is expected", Name)
	}
	slices.SortStableFunc(k.found, func(a, b param.Finding) int { return a.Line - b.Line })
	return k.found
}

// checker walks through documents.
type checker struct {
	found  param.Findings
	seen   int         // configurations of this plugin
	shared *param.Node // decK's _plugin_configs

	resolve func(string) (string, bool) // references to a vault; nil for none
	foreign map[string]string           // vaults of Kong Enterprise, by the prefix of their references
	good    []Configuration
	owner   string // of the plugins that are looked at
}

func (k *checker) fail(path string, line int, do, format string, args ...any) {
	k.found = append(k.found, param.Finding{
		Severity: param.Error, Path: path, Line: line, Message: fmt.Sprintf(format, args...), Do: do,
	})
}

func (k *checker) document(doc *param.Node) {
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return doc.Get(key) != nil })
	}
	k.vaults(doc)
	switch {
	case doc.Kind == param.NullKind:
	case doc.Kind != param.MapKind:
		k.fail("", doc.Line, "", "a record is expected at the top")
	case has("kind") && has("apiVersion"):
		k.resource(doc)
	case has("_format_version", "services", "routes", "plugins", "consumers", "_info"):
		k.declarative(doc)
	case has("config") && has("name"):
		k.plugin(doc, "", "")
	default:
		k.config(doc, "")
	}
}

// resource checks a Kubernetes resource of Kong's ingress controller.
func (k *checker) resource(doc *param.Node) {
	kind := doc.Get("kind").Text
	if (kind != "KongPlugin" && kind != "KongClusterPlugin") || text(doc.Get("plugin")) != Name {
		return
	}
	if name := text(doc.Get("metadata").Get("name")); name != "" {
		k.owner = kind + " " + name
		defer func() { k.owner = "" }()
	}
	if n := doc.Get("ordering"); n != nil && n.Kind != param.NullKind {
		k.fail("ordering", n.Line, enterpriseFields["ordering"], "is a field of Kong Enterprise, which open-source Kong refuses")
	}
	if doc.Get("config") == nil {
		k.seen++ // configFrom names a secret, which is not here
		return
	}
	k.config(doc.Get("config"), "config")
}

// declarative checks a kong.yml, entities within entities.
func (k *checker) declarative(doc *param.Node) {
	k.shared = doc.Get("_plugin_configs")
	k.entities(doc, "", "")
}

// nested are the entities that hold plugins, and each other.
var nested = []string{"services", "routes", "consumers", "consumer_groups"}

func (k *checker) entities(n *param.Node, path, owner string) {
	for i, p := range items(n.Get("plugins")) {
		k.plugin(p, fmt.Sprintf("%splugins[%d].", path, i+1), owner)
	}
	outer := k.owner
	for _, kind := range nested {
		for i, e := range items(n.Get(kind)) {
			if name := text(e.Get("name")); name != "" {
				k.owner = strings.TrimPrefix(outer+", "+strings.TrimSuffix(kind, "s")+" "+name, ", ")
			}
			k.entities(e, fmt.Sprintf("%s%s[%d].", path, kind, i+1), kind)
			k.owner = outer
		}
	}
}

func items(n *param.Node) []*param.Node {
	if n == nil {
		return nil
	}
	return n.Items
}

func text(n *param.Node) string {
	if n == nil || n.Kind != param.TextKind {
		return ""
	}
	return n.Text
}

// plugin checks a plugin entity. path ends with a dot or is empty.
func (k *checker) plugin(p *param.Node, path, owner string) {
	if text(p.Get("name")) != Name {
		return
	}
	if owner == "consumers" || owner == "consumer_groups" {
		k.fail(strings.TrimSuffix(path, "."), p.Line, "put it on a service or a route", "%s cannot be limited to consumers", Name)
	}
	for _, scope := range []string{"consumer", "consumer_group"} {
		if v := p.Get(scope); v != nil && v.Kind != param.NullKind {
			k.fail(path+scope, v.Line, "take it out", "%s cannot be limited to consumers", Name)
		}
	}
	k.entity(p, path)
	k.protocols(p.Get("protocols"), path+"protocols")
	config := p.Get("config")
	if name := text(p.Get("_config")); name != "" {
		config = merge(config, k.shared.Get(name))
	}
	if config == nil {
		config = &param.Node{Kind: param.MapKind, Line: p.Line}
	}
	k.config(config, path+"config")
}

// merge adds to a configuration what it shares with others.
func merge(config, shared *param.Node) *param.Node {
	if config == nil {
		return shared
	}
	if shared == nil {
		return config
	}
	out := &param.Node{Kind: param.MapKind, Line: config.Line, Entries: slices.Clone(config.Entries)}
	for _, e := range shared.Entries {
		if config.Get(e.Key) == nil {
			out.Entries = append(out.Entries, e)
		}
	}
	return out
}

func (k *checker) protocols(n *param.Node, path string) {
	known := []string{"grpc", "grpcs", "http", "https", "ws", "wss"}
	for i, p := range items(n) {
		if !slices.Contains(known, text(p)) {
			k.fail(fmt.Sprintf("%s[%d]", path, i+1), p.Line, "", "is none of %s", strings.Join(known, ", "))
		}
	}
}

// config checks one configuration.
func (k *checker) config(n *param.Node, path string) {
	k.seen++
	if k.resolve != nil {
		n = resolved(n, k.resolve)
	}
	c, d, err := validated(read(n, param.FromUser))
	found := d.Findings
	found = k.references(d.References, found)
	if err == nil {
		found = slices.Concat(found, withoutDirectory(c))
	}
	if found.Err() == nil {
		k.good = append(k.good, Configuration{path, n.Line, k.owner, c})
	}
	for _, f := range found {
		if f.Line == 0 {
			f.Line = locate(n, f.Path)
		}
		switch {
		case path == "":
		case f.Path == "":
			f.Path = path
		default:
			f.Path = path + "." + f.Path
		}
		k.found = append(k.found, f)
	}
}

// resolved returns n with its references to a vault replaced by what resolve knows.
func resolved(n *param.Node, resolve func(string) (string, bool)) *param.Node {
	out := *n
	if v, ok := resolve(n.Text); n.Kind == param.TextKind && param.IsReference(n.Text) && ok {
		out.Text = v
	}
	out.Items, out.Entries = slices.Clone(n.Items), slices.Clone(n.Entries)
	for i := range out.Items {
		out.Items[i] = resolved(out.Items[i], resolve)
	}
	for i := range out.Entries {
		out.Entries[i].Value = resolved(out.Entries[i].Value, resolve)
	}
	return &out
}

// locate finds the line of a parameter, or of the nearest record around it.
func locate(n *param.Node, path string) int {
	line := n.Line
	for path != "" {
		var step string
		step, path, _ = strings.Cut(path, ".")
		name, index, _ := strings.Cut(strings.TrimSuffix(step, "]"), "[")
		i := slices.IndexFunc(n.Entries, func(e param.Entry) bool { return e.Key == name })
		if i < 0 {
			return line
		}
		line, n = n.Entries[i].Line, n.Entries[i].Value
		var at int
		if _, err := fmt.Sscanf(index, "%d", &at); err == nil && at >= 1 && at <= len(n.Items) {
			n = n.Items[at-1]
			line = n.Line
		}
	}
	return line
}
