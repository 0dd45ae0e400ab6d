package inventory

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// field is a key of a mapping with its value.
type field struct {
	name           string
	line, position int
	node           ast.Node
}

func (r *reader) readYAML(text []byte) {
	// The parser is not ours: a fault of it on odd input must not end the program.
	defer func() {
		if p := recover(); p != nil {
			r.fault(Fault{Line: 1, Position: 1, Message: fmt.Sprintf("the YAML can't be read: %v", p)})
		}
	}()
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.yamlFault(err)
		return
	}
	if len(file.Docs) > 1 {
		r.at(file.Docs[1], "an inventory is one YAML document, and here a second one starts")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return
	}
	switch body := file.Docs[0].Body.(type) {
	case *ast.SequenceNode:
		r.nodes(body)
	case *ast.MappingNode, *ast.MappingValueNode:
		r.document(body)
	default:
		r.at(body, "an inventory is a list of nodes, or a mapping with the keys defaults and nodes")
	}
}

// yamlFault reports what is no YAML, without the parser's excerpt: it could show a password.
func (r *reader) yamlFault(err error) {
	f := Fault{Line: 1, Position: 1, Message: "the YAML can't be read"}
	var typed yaml.Error
	if errors.As(err, &typed) {
		f.Message += ": " + typed.GetMessage()
		if t := typed.GetToken(); t != nil && t.Position != nil {
			f.Line, f.Position = t.Position.Line, t.Position.Column
		}
	}
	r.fault(f)
}

func (r *reader) at(n ast.Node, format string, args ...any) {
	line, position := place(n)
	r.fault(Fault{Line: line, Position: position, Message: fmt.Sprintf(format, args...)})
}

func place(n ast.Node) (line, position int) {
	switch v := n.(type) {
	case *ast.MappingNode:
		if len(v.Values) > 0 && !v.IsFlowStyle {
			n = v.Values[0].Key
		}
	case *ast.MappingValueNode:
		n = v.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

// document reads a mapping with defaults and nodes.
func (r *reader) document(body ast.Node) {
	var nodes ast.Node
	for _, f := range r.fields(body, "") {
		switch f.name {
		case "nodes":
			nodes = f.node
		case "defaults":
			rec := r.record(f.node, 0)
			r.notShared(rec)
			r.defaults = rec.node
		default:
			r.fault(Fault{Line: f.line, Position: f.position, Message: fmt.Sprintf("there is no key %q, only defaults and nodes", f.name)})
		}
	}
	switch list := nodes.(type) {
	case nil:
	case *ast.SequenceNode:
		r.nodes(list)
	default:
		r.at(nodes, "nodes is a list: each node begins with \"- name: ...\"")
	}
}

// notShared refuses defaults that belong to one node.
func (r *reader) notShared(rec record) {
	for _, own := range []string{"name", "mac", "serial", "addresses", "node-ip"} {
		if _, ok := rec.cells[own]; ok {
			r.faultAt(rec, own, "it belongs to one node and cannot be a default")
		}
	}
}

func (r *reader) nodes(list *ast.SequenceNode) {
	if len(list.Values) > maxRows {
		r.at(list, "there are %d nodes and at most %d are read", len(list.Values), maxRows)
		return
	}
	for i, n := range list.Values {
		switch n.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			r.rows = append(r.rows, r.record(n, i+1))
		default:
			r.at(n, "node %d is not a mapping of columns to values", i+1)
		}
	}
}

func (r *reader) record(n ast.Node, number int) record {
	rec := record{number: number, cells: map[string]cell{}}
	rec.line, rec.position = place(n)
	for _, f := range r.flat(n) {
		name := normal(f.name)
		if !known(name) {
			r.unknown(f.name, f.line, f.position, number)
			continue
		}
		if v, ok := r.value(f.node); ok {
			line, position := place(f.node)
			rec.cells[name] = cell{v, line, position}
		}
	}
	r.fill(&rec)
	return rec
}

// flat lists a mapping's fields; those below wifi and cluster are wifi-ssid and so on.
func (r *reader) flat(n ast.Node) []field {
	var out []field
	for _, f := range r.fields(n, "") {
		switch f.node.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			if f.name == "wifi" || f.name == "cluster" {
				out = append(out, r.fields(f.node, f.name+"-")...)
				continue
			}
		}
		out = append(out, f)
	}
	return out
}

// fields lists a mapping's keys and values.
func (r *reader) fields(n ast.Node, prefix string) []field {
	var values []*ast.MappingValueNode
	switch v := n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	default:
		r.at(n, "a mapping is wanted here")
	}
	var out []field
	lines := map[string]int{}
	for _, v := range values {
		line, position := place(v.Key)
		name := prefix + scalarText(v.Key)
		if first, twice := lines[name]; twice {
			r.fault(Fault{Line: line, Position: position, Column: name, Message: fmt.Sprintf("it was already given on line %d", first)})
			continue
		}
		lines[name] = line
		out = append(out, field{name, line, position, v.Value})
	}
	return out
}

// value reads a scalar, a list or a mapping of scalars; ok is false for null.
func (r *reader) value(n ast.Node) (v value, ok bool) {
	switch t := n.(type) {
	case *ast.NullNode:
		return value{}, false
	case *ast.SequenceNode:
		v.kind = isList
		for _, item := range t.Values {
			if r.plain(item) {
				v.items = append(v.items, scalarText(item))
			}
		}
		return v, true
	case *ast.MappingNode, *ast.MappingValueNode:
		v.kind = isMap
		for _, f := range r.fields(n, "") {
			if r.plain(f.node) {
				v.pairs = append(v.pairs, [2]string{f.name, scalarText(f.node)})
			}
		}
		return v, true
	}
	return value{text: scalarText(n)}, r.plain(n)
}

func (r *reader) plain(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return true
	}
	r.at(n, "a plain value is wanted here; anchors, aliases and tags are not understood: use defaults")
	return false
}

// scalarText is a scalar as it was written: 0755 stays 0755.
func scalarText(n ast.Node) string {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case *ast.NullNode:
		return ""
	}
	if t := n.GetToken(); t != nil {
		return strings.TrimSpace(t.Value)
	}
	return ""
}
