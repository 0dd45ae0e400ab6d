package profile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/profile/schemagen/schema"
	"github.com/edgebake/edgebake/profiles"
)

func builtinNames(t *testing.T) []string {
	t.Helper()
	names, err := profiles.Names()
	if err != nil || len(names) < 5 {
		t.Fatalf("built-in profiles: %v, %v", names, err)
	}
	return names
}

func load(t *testing.T, o profile.Options) profile.Loaded {
	t.Helper()
	l, err := profile.Load(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBuiltinProfilesLoad(t *testing.T) {
	for _, name := range builtinNames(t) {
		l := load(t, profile.Options{Name: name})
		if l.Profile.Name != name {
			t.Errorf("file %s.yaml is called %s inside", name, l.Profile.Name)
		}
		if len(l.Overlays) != len(l.Profile.Overlays) {
			t.Errorf("%s: %d overlays of %d", name, len(l.Overlays), len(l.Profile.Overlays))
		}
		for _, s := range l.Profile.Apt.Sources {
			if len(l.Keyrings[s.Name]) == 0 {
				t.Errorf("%s: the keyring of %s is empty", name, s.Name)
			}
		}
		if img := l.Profile.Base.Image; img != nil && len(l.Keyrings[profile.ImageKeyring]) == 0 {
			t.Errorf("%s: the keyring of the base image is empty", name)
		}
	}
}

func TestEffectiveRaspberryPi(t *testing.T) {
	p := load(t, profile.Options{Name: "edge-rpi-debian-12"}).Profile
	cmdline := strings.Join(p.Boot.Cmdline, " ")
	if !strings.HasSuffix(cmdline, " cgroup_enable=memory cgroup_memory=1") {
		t.Errorf("cmdline is %q", cmdline)
	}
	if p.Abstract || p.Disk.Size != 4<<30 || p.Disk.Partitions[0].Size != 256<<20 {
		t.Errorf("abstract %v, disk %+v", p.Abstract, p.Disk)
	}
	if got := p.Apt.Sources[0].Suites; !reflect.DeepEqual(got, []string{"bookworm", "bookworm-updates"}) {
		t.Errorf("suites are %q", got)
	}
	if got := p.Overlays; !reflect.DeepEqual(got, []string{"edge-node", "pi-boot"}) {
		t.Errorf("overlays are %q: the parent's come first", got)
	}
	if p.Sysctls["net.ipv4.ip_forward"] != "1" {
		t.Errorf("sysctls are %q", p.Sysctls)
	}
}

// The hook of raspi-firmware must write the command line that the image came with.
func TestRaspberryPiOverlayKeepsCommandLine(t *testing.T) {
	l := load(t, profile.Options{Name: "edge-rpi-debian-12"})
	files := map[string]string{}
	for _, o := range l.Overlays {
		for _, f := range o.Files {
			files[f.Path] = string(f.Content)
		}
	}
	var consoles string
	for _, line := range strings.Split(files["/etc/default/raspi-firmware"], "\n") {
		if value, ok := strings.CutPrefix(line, "CONSOLES="); ok {
			consoles = strings.Trim(value, `"`)
		}
	}
	var words []string
	for _, c := range strings.Fields(consoles) {
		words = append(words, "console="+c)
	}
	words = append(words, "rw", "fsck.repair=yes", "net.ifnames=0", "rootwait")
	words = append(words, strings.Fields(files["/etc/default/raspi-extra-cmdline"])...)
	if diff := cmp.Diff(l.Profile.Boot.Cmdline, words); diff != "" {
		t.Errorf("profile (-) and the hook's line (+) differ:\n%s", diff)
	}
	if want := "ROOTPART=LABEL=" + l.Profile.Disk.Partitions[1].Label; !strings.Contains(files["/etc/default/raspi-firmware"], want) {
		t.Errorf("the hook's root is not %s", want)
	}
}

func TestSchemaIsUpToDate(t *testing.T) {
	want, err := schema.Generate(".")
	if err != nil {
		t.Fatal(err)
	}
	got, err := profiles.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("profiles/schema.json does not fit the types; run go generate ./builder/profile\n%s", cmp.Diff(string(got), string(want)))
	}
	var text struct {
		Defs       map[string]struct{ Properties properties } `json:"$defs"`
		Properties properties
	}
	if err := json.Unmarshal(want, &text); err != nil {
		t.Fatal(err)
	}
	text.Properties.check(t, "Profile")
	for name, def := range text.Defs {
		def.Properties.check(t, name)
	}
}

type properties map[string]struct{ Description string }

func (p properties) check(t *testing.T, name string) {
	t.Helper()
	if len(p) == 0 {
		t.Errorf("%s has no properties", name)
	}
	for key, property := range p {
		if property.Description == "" {
			t.Errorf("%s.%s has no comment", name, key)
		}
	}
}

func TestBuiltinProfilesFitSchema(t *testing.T) {
	s := compileSchema(t)
	for _, name := range builtinNames(t) {
		content, err := os.ReadFile(filepath.Join("../../profiles", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(content, []byte("# yaml-language-server: $schema=schema.json\n")) {
			t.Errorf("%s.yaml does not name its schema on the first line", name)
		}
		if err := validate(t, s, content); err != nil {
			t.Errorf("%s.yaml: %v", name, err)
		}
	}
	if validate(t, s, []byte("apiVersion: edgebake/v1\nname: x\npakages: []\n")) == nil {
		t.Error("the schema takes an unknown key")
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := profiles.Schema()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", value); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("schema.json")
}

func validate(t *testing.T, s *jsonschema.Schema, content []byte) error {
	t.Helper()
	text, err := yaml.YAMLToJSON(content)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

// What Show writes is a profile that means the same.
func TestShowLoadsAgain(t *testing.T) {
	for _, name := range builtinNames(t) {
		first := load(t, profile.Options{Name: name})
		var out bytes.Buffer
		if err := profile.Show(&out, first); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		again := load(t, profile.Options{Name: file})
		first.Profile.Extends, first.Profile.Variables, again.Profile.Variables = nil, nil, nil
		if diff := cmp.Diff(first.Profile, again.Profile); diff != "" {
			t.Errorf("%s:\n%s\n%s", name, diff, out.String())
		}
		if digest(t, first) != digest(t, again) {
			t.Errorf("%s: shown and loaded again, it has another digest", name)
		}
	}
}

func digest(t *testing.T, l profile.Loaded) string {
	t.Helper()
	d, err := profile.Digest(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(d)
}

func TestShowNamesOrigins(t *testing.T) {
	l := load(t, profile.Options{Name: "edge-rpi-debian-12", Set: map[string]string{"size": "8GiB"}})
	var out bytes.Buffer
	if err := profile.Show(&out, l); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"size: 8GiB", "# builtin:profiles/debian-12.yaml:", "# builtin:profiles/edge-debian-12.yaml:", "# default"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestDigestCoversWhatDecidesBytes(t *testing.T) {
	base := load(t, profile.Options{Name: "edge-rpi-debian-12"})
	before := digest(t, base)
	if before != digest(t, load(t, profile.Options{Name: "edge-rpi-debian-12"})) {
		t.Fatal("two loads give two digests")
	}
	for name, change := range map[string]func(*profile.Loaded){
		"package": func(l *profile.Loaded) { l.Profile.Packages = append(l.Profile.Packages, "vim") },
		"keyring": func(l *profile.Loaded) { l.Keyrings["debian"] = []byte("other") },
		"overlay": func(l *profile.Loaded) { l.Overlays = l.Overlays[:1] },
	} {
		l := load(t, profile.Options{Name: "edge-rpi-debian-12"})
		if change(&l); digest(t, l) == before {
			t.Errorf("a changed %s leaves the digest", name)
		}
	}
	base.Profile.Summary, base.Profile.Checks = "other", nil
	if digest(t, base) != before {
		t.Error("summary and checks decide no byte and change the digest")
	}
}
