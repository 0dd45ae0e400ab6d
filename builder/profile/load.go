package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/overlays"
	"github.com/edgebake/edgebake/profiles"
)

// Options say which profile to load.
type Options struct {
	// Name is a built-in name, or a path when it has a slash or ends in .yaml or .yml.
	Name string
	// Set replaces variables of the profile.
	Set map[string]string
	// Builtin replaces the built-in profiles and keyrings; nil means those that are compiled in.
	Builtin fs.FS
	// BuiltinOverlays replaces the built-in overlays; nil means those that are compiled in.
	BuiltinOverlays fs.FS
}

// Loaded is an effective profile and all that it names.
type Loaded struct {
	Profile Profile
	// Origins by path (disk.partitions[1].fs) of every value, mappings and lists included.
	Origins map[string]Origin
	// Sources are the files read, parents first.
	Sources []string
	// Keyrings are the contents of the key files by the source's name.
	Keyrings map[string][]byte
	// Overlays in the order of Profile.Overlays.
	Overlays []overlays.Overlay

	inFiles map[string]string // the variables that files of overlays have in them
}

// OwnPackages are those that the profile's own file names, and none of its parents; none when it is built in or has no
// parents.
func (l Loaded) OwnPackages() []string {
	own := l.Sources[len(l.Sources)-1]
	if len(l.Sources) == 1 || strings.HasPrefix(own, builtinPrefix) {
		return nil
	}
	var out []string
	for i, name := range l.Profile.Packages {
		if l.Origins[fmt.Sprintf("packages[%d]", i)].File == own {
			out = append(out, name)
		}
	}
	return out
}

// Load reads a profile, lays it over its parents, puts in variables and defaults, and checks it.
// Everything wrong with it is in one *FaultsError; a file that can't be read is another error.
func Load(ctx context.Context, o Options) (Loaded, error) {
	l := &loader{options: o, texts: map[string][]string{}, laid: map[string]bool{}, builtinFile: map[string]bool{}}
	if l.options.Builtin == nil {
		l.options.Builtin = profiles.Builtin()
	}
	if l.options.BuiltinOverlays == nil {
		l.options.BuiltinOverlays = overlays.Builtin()
	}
	root, err := l.read(ctx, l.locate(o.Name, ""), nil, Origin{})
	if err != nil {
		return Loaded{}, err
	}
	out := l.effective(root)
	if faults := l.annotate(); len(faults) > 0 {
		return Loaded{}, &FaultsError{Name: o.Name, Faults: faults}
	}
	return out, nil
}

// loader collects what reading finds; it lives for one Load.
type loader struct {
	options Options
	faults  []Fault
	texts   map[string][]string // lines of each file, for excerpts
	laid    map[string]bool
	sources []string
	// broken is set when a file could not be read as a whole: what is missing says nothing then.
	broken bool
	// builtinFile has the displayed names of files that are compiled in.
	builtinFile map[string]bool
}

// builtinPrefix keeps built-in files apart from a person's profiles/ directory in messages.
const builtinPrefix = "builtin:profiles/"

// place is where a file is: in the program or on disk.
type place struct {
	builtin bool
	path    string
}

// String is the name for people.
func (p place) String() string {
	if p.builtin {
		return builtinPrefix + p.path
	}
	return p.path
}

func isPath(name string) bool {
	return strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// locate finds the profile called name; from is the file that names it, for relative paths.
func (l *loader) locate(name, from string) place {
	if !isPath(name) {
		return place{builtin: true, path: name + ".yaml"}
	}
	return place{path: beside(name, from)}
}

func beside(name, from string) string {
	if from == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(from), name)
}

func (l *loader) content(p place) ([]byte, error) {
	if p.builtin {
		return fs.ReadFile(l.options.Builtin, p.path)
	}
	return os.ReadFile(p.path)
}

// read returns the profile at p merged over its parents. chain are the files that led here.
func (l *loader) read(ctx context.Context, p place, chain []string, asked Origin) (*node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	content, err := l.content(p)
	if err != nil {
		return &node{kind: mapping}, l.missing(p, asked, err)
	}
	name := p.String()
	l.laid[name], l.builtinFile[name] = true, p.builtin
	l.texts[name] = strings.Split(string(content), "\n")
	own, faults := parse(name, content)
	l.faults = append(l.faults, faults...)
	l.broken = l.broken || len(own.entries) == 0
	parents, err := l.readParents(ctx, p, own, append(chain, name))
	l.sources = append(l.sources, name)
	if parents == nil {
		return own, err
	}
	// What a file says about itself does not pass to those that extend it.
	return merge(parents.without("name", "summary", "abstract", "extends"), own), err
}

// missing makes a fault of a parent that is not there, and an error of a profile that is not.
func (l *loader) missing(p place, asked Origin, err error) error {
	if asked.File == "" && (!p.builtin || !errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("reading profile: %w", err)
	}
	f := Fault{File: asked.File, Line: asked.Line, Column: asked.Column, Path: "extends"}
	if !p.builtin {
		f.Message = fmt.Sprintf("reading the profile to extend: %v", err)
	} else {
		name := strings.TrimSuffix(p.path, ".yaml")
		f.Message = fmt.Sprintf("there is no built-in profile %q; a path has a slash or ends in .yaml", name)
		f.Suggestion = nearest(name, l.builtinNames())
	}
	if asked.File == "" {
		f.File, f.Path = "profile", ""
	}
	l.faults, l.broken = append(l.faults, f), true
	return nil
}

func (l *loader) builtinNames() []string {
	names, _ := fs.Glob(l.options.Builtin, "*.yaml") // the pattern is constant and right
	for i := range names {
		names[i] = strings.TrimSuffix(names[i], ".yaml")
	}
	return names
}

func (l *loader) readParents(ctx context.Context, p place, own *node, chain []string) (*node, error) {
	extends := own.get("extends")
	if extends == nil || extends.kind != sequence {
		return nil, nil // a wrong kind is reported when the whole is decoded
	}
	var merged *node
	for _, item := range extends.items {
		from := p.path
		if p.builtin {
			from = ""
		}
		parent := l.locate(item.text, from)
		if item.kind != scalar || l.cyclic(chain, parent, item) || l.laid[parent.String()] {
			continue
		}
		n, err := l.read(ctx, parent, chain, item.origin)
		if err != nil {
			return nil, err
		}
		merged = merge(merged, n)
	}
	return merged, nil
}

func (l *loader) cyclic(chain []string, parent place, item *node) bool {
	i := slices.Index(chain, parent.String())
	if i < 0 {
		return false
	}
	l.broken = true
	l.faults = append(l.faults, Fault{
		File: item.origin.File, Line: item.origin.Line, Column: item.origin.Column, Path: "extends",
		Message: "profiles extend each other in a circle: " + strings.Join(append(slices.Clone(chain[i:]), parent.String()), " -> "),
	})
	return true
}

// effective decodes the merged profile and checks it.
func (l *loader) effective(root *node) Loaded {
	out := Loaded{Sources: l.sources, Keyrings: map[string][]byte{}}
	values := l.variables(root)
	values.replace(root, "")
	l.faults = append(l.faults, values.faults...)
	abstract := root.get("abstract")
	d := &decoder{
		origins: map[string]Origin{}, known: values.faults,
		partial: l.broken || abstract != nil && abstract.text == "true",
	}
	dedupe(root)
	d.decode(root, reflect.ValueOf(&out.Profile).Elem(), "", nil)
	for name := range values.set {
		d.origins[join("variables", name)] = Origin{File: "--set"}
	}
	out.Profile.Variables = values.strings()
	out.Origins = d.origins
	setDefaults(&out.Profile, d.origins)
	l.faults = append(l.faults, d.faults...)
	v := &validator{origins: d.origins, partial: d.partial, known: append(values.faults, d.faults...)}
	v.profile(out.Profile)
	l.faults = append(l.faults, v.faults...)
	l.readNamed(&out)
	before := len(values.faults)
	for i := range out.Overlays {
		path := fmt.Sprintf("overlays[%d]", i)
		values.fill(&out.Overlays[i], d.origins[path], path)
	}
	l.faults = append(l.faults, values.faults[before:]...)
	out.inFiles = values.inFiles
	return out
}

// dedupe drops repeated words from the lists in which a second one means nothing: a child may name
// a package that its parent has.
func dedupe(root *node) {
	lists := []*node{root.get("packages"), root.get("overlays"), root.get("modules"), root.get("outputs"), root.get("checks")}
	if s := root.get("services"); s != nil {
		lists = append(lists, s.get("enable"), s.get("disable"), s.get("mask"))
	}
	for _, n := range lists {
		if n == nil {
			continue
		}
		seen := map[string]bool{}
		n.items = slices.DeleteFunc(slices.Clone(n.items), func(item *node) bool {
			again := item.kind == scalar && seen[item.text]
			seen[item.text] = true
			return again
		})
	}
}

// annotate sorts the faults and adds the line of each.
func (l *loader) annotate() []Fault {
	for i := range l.faults {
		f := &l.faults[i]
		if lines := l.texts[f.File]; f.Line > 0 && f.Line <= len(lines) {
			f.Excerpt = strings.TrimRight(lines[f.Line-1], "\r")
		}
	}
	return sortFaults(l.faults)
}

// sortedKeys is for messages and checks whose order people see.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
