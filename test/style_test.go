package test

import (
	"go/ast"
	"go/token"
	"path"
	"strings"
	"testing"
)

const (
	maxFunctionLines = 120
	maxFileLines     = 800
)

func TestStyle(t *testing.T) {
	for _, f := range sources(t, "builder", "cmd", "profiles", "overlays") {
		checkFile(t, f)
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				checkFunction(t, f, d)
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					checkVariables(t, f, d)
				}
			}
		}
	}
}

func checkFile(t *testing.T, f sourceFile) {
	if f.lines > maxFileLines {
		t.Errorf("%s has %d lines, more than %d: split it by topic", f.path, f.lines, maxFileLines)
	}
	for _, part := range strings.Split(strings.TrimSuffix(f.path, ".go"), "/") {
		switch part {
		case "util", "utils", "common", "helper", "helpers", "misc":
			t.Errorf("%s: %q says nothing about what is inside", f.path, part)
		}
	}
}

func checkFunction(t *testing.T, f sourceFile, d *ast.FuncDecl) {
	if d.Name.Name == "init" && d.Recv == nil {
		t.Errorf("%s: init() runs unseen: call a function instead", f.at(d))
	}
	if lines := f.set.Position(d.End()).Line - f.set.Position(d.Pos()).Line + 1; lines > maxFunctionLines {
		t.Errorf("%s: %s has %d lines, more than %d", f.at(d), d.Name.Name, lines, maxFunctionLines)
	}
}

// checkVariables allows package variables that nobody changes: errors, regular expressions,
// embedded files, and tables (composite literals and what a function computes once) that the
// file never assigns to. A variable without a value is state and refused.
func checkVariables(t *testing.T, f sourceFile, d *ast.GenDecl) {
	embeds := d.Doc != nil && strings.Contains(commentText(d.Doc), "//go:embed")
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		if embeds || v.Doc != nil && strings.Contains(commentText(v.Doc), "//go:embed") {
			continue
		}
		for i, name := range v.Names {
			switch {
			case name.Name == "_", path.Base(f.path) == "main.go" && name.Name == "version":
			case len(v.Values) <= i:
				t.Errorf("%s: package variable %s has no value: it is state", f.at(name), name.Name)
			case assigned(f, name.Name):
				t.Errorf("%s: package variable %s is changed", f.at(name), name.Name)
			}
		}
	}
}

func commentText(g *ast.CommentGroup) string {
	var lines []string
	for _, c := range g.List {
		lines = append(lines, c.Text)
	}
	return strings.Join(lines, "\n")
}

// assigned says whether the file assigns to the package variable, or to an element of it.
func assigned(f sourceFile, name string) bool {
	found := false
	target := func(e ast.Expr) {
		if i, ok := e.(*ast.IndexExpr); ok {
			e = i.X
		}
		if id, ok := e.(*ast.Ident); ok && id.Name == name && isPackageVar(id) {
			found = true
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				for _, lhs := range s.Lhs {
					target(lhs)
				}
			}
		case *ast.IncDecStmt:
			target(s.X)
		}
		return true
	})
	return found
}

// isPackageVar tells the variable from a local one of the same name: the parser resolves an
// identifier to its declaration within the file.
func isPackageVar(id *ast.Ident) bool {
	if id.Obj == nil {
		return true
	}
	spec, ok := id.Obj.Decl.(*ast.ValueSpec)
	if !ok {
		return false
	}
	return spec.Names[0].Obj == id.Obj || len(spec.Names) > 1
}
