package param

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of what is read. A configuration with every parameter set is about
// 20 KB; a kong.yml of thousands of routes may hold some megabytes and 200,000 values.
const (
	maxBytes = 16 << 20
	maxDepth = 32
	maxNodes = 1 << 18
)

// Kind is the kind of a value that was read.
type Kind uint8

// Kinds.
const (
	NullKind Kind = iota
	BoolKind
	NumberKind
	TextKind
	ListKind
	MapKind
)

// Node is a value as it was read from JSON or YAML, with its line.
type Node struct {
	Kind    Kind
	Text    string // of a text, or a number or boolean as it was written
	Bool    bool
	Items   []*Node
	Entries []Entry
	Line    int

	index map[string]*Node // of a large map, made by the first Get
}

// Entry is a member of a map, in the order of the file.
type Entry struct {
	Key   string
	Line  int
	Value *Node
}

// Has reports whether the parameter with this path, which leads through no
// list, is there and not null.
func (n *Node) Has(path string) bool {
	for name := range splitPath(path) {
		n = n.Get(name)
	}
	return n != nil && n.Kind != NullKind
}

// Get returns the member with this key, nil if there is none. A nil Node has
// no members.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	if n.index == nil {
		if len(n.Entries) < 16 {
			for _, e := range n.Entries {
				if e.Key == key {
					return e.Value
				}
			}
			return nil
		}
		n.index = make(map[string]*Node, len(n.Entries))
		for _, e := range n.Entries {
			n.index[e.Key] = e.Value
		}
	}
	return n.index[key]
}

// shape describes a value without repeating it.
func (n *Node) shape() string {
	switch n.Kind {
	case NullKind:
		return "null"
	case BoolKind:
		return "a boolean"
	case NumberKind:
		return "a number"
	case TextKind:
		if c := utf8.RuneCountInString(n.Text); c != 1 {
			return fmt.Sprintf("a text of %d characters", c)
		}
		return "a text of 1 character"
	case ListKind:
		return "a list"
	default:
		return "a record"
	}
}

// ParseJSON reads one JSON value of at most 16 MiB, 32 levels and 2^18 nodes.
func ParseJSON(data []byte) (*Node, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("the JSON text has %d bytes, at most %d are read", len(data), maxBytes)
	}
	p := jsonParser{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	p.dec.UseNumber()
	n, err := p.value(0)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", p.at(), err)
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line %d: one JSON value is expected, something follows it", p.at())
	}
	return n, nil
}

type jsonParser struct {
	data  []byte
	dec   *json.Decoder
	line  int
	off   int
	nodes int
}

// at returns the line of what was read last.
func (p *jsonParser) at() int {
	end := min(int(p.dec.InputOffset()), len(p.data))
	p.line += bytes.Count(p.data[p.off:end], []byte{'\n'})
	p.off = end
	return p.line
}

func (p *jsonParser) value(depth int) (*Node, error) {
	tok, err := p.dec.Token()
	if err != nil {
		// The decoder's text quotes what it met, which may be a secret.
		return nil, errors.New("this is not JSON")
	}
	if p.nodes++; p.nodes > maxNodes || depth > maxDepth {
		return nil, errors.New("the value is too large or too deep")
	}
	n := &Node{Line: p.at()}
	switch t := tok.(type) {
	case nil:
	case bool:
		n.Kind, n.Bool = BoolKind, t
	case json.Number:
		n.Kind, n.Text = NumberKind, t.String()
	case string:
		n.Kind, n.Text = TextKind, t
	case json.Delim:
		if t == '[' {
			n.Kind = ListKind
			for p.dec.More() {
				item, err := p.value(depth + 1)
				if err != nil {
					return nil, err
				}
				n.Items = append(n.Items, item)
			}
		} else {
			n.Kind = MapKind
			seen := map[string]bool{}
			for p.dec.More() {
				key, err := p.value(depth + 1)
				if err != nil {
					return nil, err
				}
				if seen[key.Text] {
					return nil, fmt.Errorf("the key %s is there twice", quote(key.Text))
				}
				seen[key.Text] = true
				v, err := p.value(depth + 1)
				if err != nil {
					return nil, err
				}
				n.Entries = append(n.Entries, Entry{key.Text, key.Line, v})
			}
		}
		if _, err := p.dec.Token(); err != nil {
			return nil, errors.New("this is not JSON")
		}
	}
	return n, nil
}

// ParseYAML reads the documents of a YAML text as Kong reads them: a bare on,
// off, yes or no is a boolean. Bounds as with ParseJSON, aliases included.
func ParseYAML(data []byte) ([]*Node, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("the YAML text has %d bytes, at most %d are read", len(data), maxBytes)
	}
	var out []*Node
	p := yamlParser{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("this is not YAML: %w", err)
		}
		n, err := p.value(&doc, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
		if len(out) > 1000 {
			return nil, errors.New("more than 1000 YAML documents")
		}
	}
}

type yamlParser struct{ nodes int }

func (p *yamlParser) value(y *yaml.Node, depth int) (*Node, error) {
	if p.nodes++; p.nodes > maxNodes || depth > maxDepth {
		return nil, fmt.Errorf("line %d: the value is too large or too deep", y.Line)
	}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 0 {
			return &Node{Line: y.Line}, nil
		}
		return p.value(y.Content[0], depth)
	case yaml.AliasNode:
		return p.value(y.Alias, depth+1)
	case yaml.SequenceNode:
		n := &Node{Kind: ListKind, Line: y.Line}
		for _, c := range y.Content {
			item, err := p.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, item)
		}
		return n, nil
	case yaml.MappingNode:
		return p.mapping(y, depth)
	}
	return scalar(y), nil
}

func (p *yamlParser) mapping(y *yaml.Node, depth int) (*Node, error) {
	n := &Node{Kind: MapKind, Line: y.Line}
	var merged []*Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		k := y.Content[i]
		v, err := p.value(y.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if k.Tag == "!!merge" {
			if v.Kind == ListKind {
				merged = append(merged, v.Items...)
			} else {
				merged = append(merged, v)
			}
			continue
		}
		if k.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key must be a text", k.Line)
		}
		if seen[k.Value] {
			return nil, fmt.Errorf("line %d: the key %s is there twice", k.Line, quote(k.Value))
		}
		seen[k.Value] = true
		n.Entries = append(n.Entries, Entry{k.Value, k.Line, v})
	}
	for _, m := range merged {
		for _, e := range m.Entries {
			if !seen[e.Key] {
				seen[e.Key] = true
				n.Entries = append(n.Entries, e)
			}
		}
	}
	return n, nil
}

// yaml11 are the words that Kong's YAML reader takes for booleans beside true
// and false.
var yaml11 = map[bool][]string{
	true:  {"yes", "Yes", "YES", "on", "On", "ON"},
	false: {"no", "No", "NO", "off", "Off", "OFF"},
}

func scalar(y *yaml.Node) *Node {
	n := &Node{Kind: TextKind, Text: y.Value, Line: y.Line}
	switch y.ShortTag() {
	case "!!null":
		n.Kind = NullKind
	case "!!bool":
		var b bool
		if y.Decode(&b) == nil {
			n.Kind, n.Bool = BoolKind, b
		}
	case "!!int", "!!float":
		var f float64
		if y.Decode(&f) == nil {
			n.Kind = NumberKind
			if text, err := json.Marshal(f); err == nil {
				n.Text = string(text)
			}
		}
	case "!!str":
		if y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
			for b, words := range yaml11 {
				if slices.Contains(words, y.Value) {
					n.Kind, n.Bool = BoolKind, b
				}
			}
		}
	}
	return n
}

// quote makes a name that came from outside safe for a message.
func quote(name string) string {
	if utf8.RuneCountInString(name) > 64 {
		name = string([]rune(name)[:64]) + "..."
	}
	return fmt.Sprintf("%q", name)
}
