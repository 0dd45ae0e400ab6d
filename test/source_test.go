package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sourceFile is one parsed Go file of the project that is no test.
type sourceFile struct {
	path  string // from the project's root, with slashes
	set   *token.FileSet
	ast   *ast.File
	lines int
}

func (f sourceFile) at(n ast.Node) string {
	return strings.TrimPrefix(f.set.Position(n.Pos()).String(), "../")
}

// sources parses all Go files below the roots of the project, tests left out.
func sources(t *testing.T, roots ...string) []sourceFile {
	t.Helper()
	var files []sourceFile
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Join("..", root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			set := token.NewFileSet()
			parsed, err := parser.ParseFile(set, path, text, parser.ParseComments)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(path), "../")
			files = append(files, sourceFile{name, set, parsed, strings.Count(string(text), "\n")})
			return nil
		})
		if err != nil {
			t.Fatalf("parsing %s: %v", root, err)
		}
	}
	if len(files) == 0 {
		t.Fatal("no Go files found")
	}
	return files
}

// importedAs returns the path that the identifier stands for in the file, or "".
func (f sourceFile) importedAs(name string) string {
	for _, spec := range f.ast.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		as := path[strings.LastIndexByte(path, '/')+1:]
		if as == "v2" && strings.HasPrefix(path, "math/rand") {
			as = "rand"
		}
		if spec.Name != nil {
			as = spec.Name.Name
		}
		if as == name {
			return path
		}
	}
	return ""
}
