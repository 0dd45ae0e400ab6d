// Package schema makes the JSON schema of profiles from the Go types and their comments.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/edgebake/edgebake/builder/profile"
)

// sizePattern takes what profile.ParseSize takes, and variables.
const sizePattern = `^([0-9]+ *([KMGT]iB|[kKMGT]B|B)?|.*\$\{[^}]*\}.*)$`

// Generate returns the schema; dir holds the source of package profile.
func Generate(dir string) ([]byte, error) {
	comments, err := readComments(dir)
	if err != nil {
		return nil, fmt.Errorf("reading comments of %s: %w", dir, err)
	}
	r := &jsonschema.Reflector{
		RequiredFromJSONSchemaTags: true, // a profile may leave to its parents what is required in the end
		ExpandedStruct:             true,
		Anonymous:                  true,
		Mapper:                     special,
		LookupComment:              func(t reflect.Type, field string) string { return comments[t.Name()+"."+field] },
	}
	s := r.Reflect(&profile.Profile{})
	s.Title = "edgebake profile"
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(s)
	return out.Bytes(), err
}

// special are the types whose YAML is not what Go's kind suggests.
func special(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[profile.Size]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", Pattern: sizePattern}, {Type: "integer"}}}
	case reflect.TypeFor[map[string]string]():
		return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{
			AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}, {Type: "null"}},
		}}
	}
	return nil
}

// readComments maps Type.Field, and Type. for the type itself, to its comment as one paragraph.
func readComments(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	comments := map[string]string{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, decl := range parsed.Decls {
			if d, ok := decl.(*ast.GenDecl); ok {
				for _, spec := range d.Specs {
					addType(comments, d, spec)
				}
			}
		}
	}
	return comments, nil
}

func addType(comments map[string]string, d *ast.GenDecl, spec ast.Spec) {
	t, ok := spec.(*ast.TypeSpec)
	if !ok {
		return
	}
	comments[t.Name.Name+"."] = paragraph(d.Doc)
	fields, ok := t.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range fields.Fields.List {
		for _, name := range f.Names {
			comments[t.Name.Name+"."+name.Name] = paragraph(f.Doc)
		}
	}
}

func paragraph(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
