package profile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile is far above any profile that a person writes and bounds what a wrong path costs.
const maxFile = 1 << 20

// maxDepth is twice what the deepest value of a profile needs.
const maxDepth = 20

// maxOpen bounds what the YAML parser may be in at once, brackets or the "- " of one line: it calls itself for each, takes
// time with the square of them, and a stack that is full ends the program. A profile has fewer than ten.
const maxOpen = 200

// tooDeep reports whether content would lead the parser deeper than maxOpen. Brackets in texts count too.
func tooDeep(content []byte) bool {
	open := 0
	for line := range bytes.Lines(content) {
		if fields := bytes.Fields(line); len(fields) > maxOpen && !slices.ContainsFunc(fields[:maxOpen], func(f []byte) bool { return len(f) != 1 || f[0] != '-' && f[0] != '?' }) {
			return true
		}
		for _, c := range line {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(open-1, 0)
			}
			if open > maxOpen {
				return true
			}
		}
	}
	return false
}

type kind int

const (
	null kind = iota
	scalar
	mapping
	sequence
)

func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a mapping", "a list"}[k]
}

// node is YAML reduced to what a profile is made of, each value with its place.
type node struct {
	kind    kind
	text    string // of a scalar
	entries []entry
	items   []*node
	origin  Origin
}

type entry struct {
	key    string
	origin Origin // of the key
	value  *node
}

func (n *node) get(key string) *node {
	for _, e := range n.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

func (n *node) without(keys ...string) *node {
	kept := *n
	kept.entries = nil
	for _, e := range n.entries {
		drop := false
		for _, k := range keys {
			drop = drop || e.key == k
		}
		if !drop {
			kept.entries = append(kept.entries, e)
		}
	}
	return &kept
}

// reader turns one file's YAML into nodes and collects the file's own faults.
type reader struct {
	file   string
	faults []Fault
}

// parse never returns nil: a file that is no YAML gives an empty mapping and a fault.
func parse(file string, content []byte) (root *node, faults []Fault) {
	r := &reader{file: file}
	root = &node{kind: mapping, origin: Origin{file, 1, 1}}
	// The parser is not ours: a fault of it on odd input must not end the program.
	defer func() {
		if p := recover(); p != nil {
			faults = append(r.faults, Fault{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("the YAML can't be read: %v", p)})
		}
	}()
	if len(content) > maxFile {
		return root, []Fault{{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("%d bytes are more than a profile may have (%d)", len(content), maxFile)}}
	}
	if tooDeep(content) {
		return root, []Fault{{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("more than %d brackets or list items are inside of each other", maxOpen)}}
	}
	tree, err := parser.ParseBytes(content, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return root, []Fault{syntaxFault(file, err)}
	}
	if len(tree.Docs) > 1 {
		r.add(tree.Docs[1].GetToken().Position.Line, 1, "a profile is one YAML document, and here a second one starts")
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return root, append(r.faults, Fault{File: file, Line: 1, Column: 1, Message: "the file is empty"})
	}
	if n := r.read(tree.Docs[0].Body, 0); n.kind == mapping {
		root = n
	} else {
		r.add(n.origin.Line, n.origin.Column, fmt.Sprintf("a profile is a mapping, and this is %s", n.kind))
	}
	return root, r.faults
}

func syntaxFault(file string, err error) Fault {
	f := Fault{File: file, Line: 1, Column: 1, Message: err.Error()}
	var typed yaml.Error
	if !errors.As(err, &typed) {
		return f
	}
	f.Message = "the YAML can't be read: " + typed.GetMessage()
	if t := typed.GetToken(); t != nil && t.Position != nil {
		f.Line, f.Column = t.Position.Line, t.Position.Column
	}
	return f
}

func (r *reader) add(line, column int, message string) {
	r.faults = append(r.faults, Fault{File: r.file, Line: line, Column: column, Message: message})
}

func (r *reader) origin(n ast.Node) Origin {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return Origin{r.file, t.Position.Line, t.Position.Column}
	}
	return Origin{r.file, 1, 1}
}

func (r *reader) read(n ast.Node, depth int) *node {
	out := &node{origin: r.origin(n)}
	if depth > maxDepth {
		r.add(out.origin.Line, out.origin.Column, fmt.Sprintf("nested deeper than %d levels", maxDepth))
		return out
	}
	switch v := n.(type) {
	case *ast.MappingNode:
		out.kind = mapping
		for _, value := range v.Values {
			r.readEntry(out, value, depth)
		}
	case *ast.MappingValueNode:
		out.kind = mapping
		r.readEntry(out, v, depth)
	case *ast.SequenceNode:
		out.kind = sequence
		for _, value := range v.Values {
			out.items = append(out.items, r.read(value, depth+1))
		}
	case *ast.NullNode:
	case *ast.StringNode:
		out.kind, out.text = scalar, v.Value
	case *ast.LiteralNode:
		out.kind, out.text = scalar, v.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		out.kind, out.text = scalar, strings.TrimSpace(n.GetToken().Value)
	default:
		r.add(out.origin.Line, out.origin.Column, "anchors, aliases and tags are not understood; use extends and variables")
	}
	return out
}

func (r *reader) readEntry(out *node, v *ast.MappingValueNode, depth int) {
	at := r.origin(v.Key)
	key := v.Key.GetToken().Value
	if s, ok := v.Key.(*ast.StringNode); ok {
		key = s.Value
	}
	for _, e := range out.entries {
		if e.key == key {
			r.add(at.Line, at.Column, fmt.Sprintf("key %q was already given on line %d", key, e.origin.Line))
			return
		}
	}
	value := r.read(v.Value, depth+1)
	if value.kind == null {
		value.origin = at
	}
	out.entries = append(out.entries, entry{key, at, value})
}

// merge lays child over parent: mappings by key, lists appended, the rest replaced. An explicit
// null takes the parent's value away.
func merge(parent, child *node) *node {
	if parent == nil || parent.kind != child.kind {
		return child
	}
	switch child.kind {
	case sequence:
		out := *child
		out.items = append(append([]*node(nil), parent.items...), child.items...)
		return &out
	case mapping:
		return mergeMappings(parent, child)
	}
	return child
}

func mergeMappings(parent, child *node) *node {
	out := &node{kind: mapping, origin: child.origin}
	for _, e := range parent.entries {
		if over := child.get(e.key); over != nil {
			e.value = merge(e.value, over)
		}
		out.entries = append(out.entries, e)
	}
	for _, e := range child.entries {
		if parent.get(e.key) == nil {
			out.entries = append(out.entries, e)
		}
	}
	return out
}
