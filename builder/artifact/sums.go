package artifact

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/durable"
)

// WriteSums writes SHA256SUMS, in the form that sha256sum -c reads, sorted by name.
func WriteSums(dir string, artifacts []Artifact) error {
	sorted := slices.SortedFunc(slices.Values(artifacts), func(a, b Artifact) int { return strings.Compare(a.Name, b.Name) })
	var b []byte
	for _, a := range sorted {
		if strings.ContainsAny(a.Name, "\\\n") {
			return fmt.Errorf("writing %s: name %q holds a backslash or a line feed", SumsName, a.Name)
		}
		b = fmt.Appendf(b, "%s  %s\n", a.SHA256, a.Name)
	}
	return durable.WriteFile(filepath.Join(dir, SumsName), b)
}

// ReadSums reads the SHA256SUMS of the set in dir. It holds no sizes.
func ReadSums(dir string) ([]Artifact, error) {
	f, err := os.Open(filepath.Join(dir, SumsName))
	if err != nil {
		return nil, fmt.Errorf("reading sums: %w", err)
	}
	defer f.Close()
	var out []Artifact
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		digest, err := cas.ParseDigest(sum)
		if !ok || err != nil {
			return nil, fmt.Errorf("reading %s: %q is not a SHA-256, two blanks and a name; bake again", f.Name(), lines.Text())
		}
		out = append(out, Artifact{Name: name, SHA256: digest})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	return out, nil
}

// UpdateSums hashes the named files of the set in dir and gives them their lines in SHA256SUMS; a
// name whose file is gone loses its line. Nothing else is hashed: the image keeps the line it has.
func UpdateSums(ctx context.Context, dir string, names ...string) error {
	old, err := ReadSums(dir)
	if err != nil {
		return err
	}
	sums := slices.DeleteFunc(old, func(a Artifact) bool { return slices.Contains(names, a.Name) })
	for _, name := range names {
		a, err := HashFile(ctx, filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		sums = append(sums, a)
	}
	return WriteSums(dir, sums)
}
