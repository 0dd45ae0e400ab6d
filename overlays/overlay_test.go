package overlays_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/edgebake/edgebake/overlays"
)

func TestBuiltinOverlays(t *testing.T) {
	names, err := overlays.Names(overlays.Builtin())
	if err != nil || len(names) < 4 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		o, err := overlays.Load(overlays.Builtin(), name)
		if err != nil {
			t.Fatal(err)
		}
		checkBuiltin(t, o)
	}
}

func checkBuiltin(t *testing.T, o overlays.Overlay) {
	t.Helper()
	if o.Summary == "" {
		t.Errorf("%s has no summary", o.Name)
	}
	for _, f := range o.Files {
		text := string(f.Content)
		// ds-identify's shell reads the list only when it is one line.
		if strings.Contains(text, "datasource_list") && !strings.Contains(text, "None ]\n") {
			t.Errorf("%s: datasource_list is not on one line", f.Path)
		}
		if strings.HasSuffix(f.Path, ".conflist") && !json.Valid(f.Content) {
			t.Errorf("%s is no JSON", f.Path)
		}
		if f.Path == "/etc/default/raspi-extra-cmdline" && strings.Count(text, "\n") != 1 {
			t.Errorf("%s must be one line without comments", f.Path)
		}
		if !f.Dir && f.Target == "" && !strings.HasSuffix(text, "\n") {
			t.Errorf("%s does not end in a line break", f.Path)
		}
	}
}

// TestDirectories: only a directory that a rule names has attributes of its own.
func TestDirectories(t *testing.T) {
	fsys := fstest.MapFS{
		"o/root/notes": {Data: []byte("x\n")}, "o/etc/keys/a": {Data: []byte("x\n")},
		"o.yaml": {Data: []byte("rules: [{path: /etc/keys, mode: \"0700\"}]\nlinks: {/srv/www: /var/www}")},
	}
	o, err := overlays.Load(fsys, "o")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"/root": true, "/etc": true, "/etc/keys": false, "/srv": true}
	for _, f := range o.Files {
		if byDefault, ok := want[f.Path]; f.Dir && (!ok || f.Default != byDefault) || !f.Dir && f.Default {
			t.Errorf("%+v", f)
		}
		delete(want, f.Path)
	}
	if len(want) > 0 {
		t.Errorf("the overlay lacks %v", want)
	}
}

func TestFaults(t *testing.T) {
	file := &fstest.MapFile{Data: []byte("x\n")}
	for want, description := range map[string]string{
		`rule "/etc/b" matches no file`:    "rules: [{path: /etc/b, mode: \"0600\"}]",
		`mode "0888" is not octal`:         "rules: [{path: /etc/a, mode: \"0888\"}]",
		`owner "nobody" is not USER:GROUP`: "rules: [{path: /etc/a, owner: nobody}]",
		`unknown field "rulez"`:            "rulez: []",
		`has a file of that path`:          "links: {/etc/a: b}",
		`has no file of that path`:         "variables: [/etc/b]",
		`write an absolute path`:           "links: {etc/b: b}",
	} {
		fsys := fstest.MapFS{"o/etc/a": file, "o.yaml": {Data: []byte(description)}}
		if _, err := overlays.Load(fsys, "o"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, not %q", description, err, want)
		}
	}
}
