package maintscript_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/maintscript"
	"github.com/edgebake/edgebake/test/oracle"
)

func section(tool, body string) string {
	return "# Automatically added by " + tool + "\n" + body + "# End automatically added section\n"
}

const (
	configures = `if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-deconfigure" ] || [ "$1" = "abort-remove" ] ; then` + "\n"
	compile    = "if command -v py3compile >/dev/null 2>&1; then\n\tpy3compile -p python3-acme:arm64 /usr/share/acme\nfi\n" +
		"if command -v pypy3compile >/dev/null 2>&1; then\n\tpypy3compile -p python3-acme:arm64 /usr/share/acme || true\nfi\n\n"
	starts = configures + "\tif [ -d /run/systemd/system ]; then\n\t\tsystemctl --system daemon-reload >/dev/null || true\n\t\tif [ -n \"$2\" ]; then\n" +
		"\t\t\t_dh_action=restart\n\t\telse\n\t\t\t_dh_action=start\n\t\tfi\n\t\tdeb-systemd-invoke $_dh_action 'acme.service' 'acme.timer' >/dev/null || true\n\tfi\nfi\n"
	moves   = `dpkg-maintscript-helper rm_conffile /etc/acme.conf 1.2\~ -- "$@"` + "\n" + `dpkg-maintscript-helper dir_to_symlink /usr/share/acme ../other 2:1.0-1\~ acme -- "$@"` + "\n"
	initrd  = "if [ \"$1\" = \"install\" ] && [ -n \"$2\" ] && [ -e \"/etc/init.d/acme\" ] ; then\n\tchmod +x \"/etc/init.d/acme\" >/dev/null || true\nfi\n"
	enables = configures + "\tdeb-systemd-helper unmask 'acme.service' >/dev/null || true\nfi\n"
	head    = "#!/bin/sh\nset -e\n"
)

// none knows no unit.
func none(string) []string { return nil }

func TestShorten(t *testing.T) {
	cut := ":\n"
	for name, tt := range map[string]struct {
		script, want string
		compile      [][]string
		not          bool
	}{
		"all of it":                      {script: head + section("dh_installdeb/13.11.4", moves) + section("dh_installinit/13", initrd) + "exit 0\n"},
		"units started":                  {script: head + section("dh_installsystemd/13.11.4", starts)},
		"compiled":                       {script: head + section("dh_python3", compile), compile: [][]string{{"-p", "python3-acme:arm64", "/usr/share/acme"}}},
		"compiled among other things":    {script: head + section("dh_python3", compile) + "adduser acme\n", not: true},
		"some of it":                     {script: head + "adduser acme\n" + section("dh_installdeb/13", moves) + section("dh_systemd/13", enables), want: head + "adduser acme\n" + cut + section("dh_systemd/13", enables)},
		"in a condition":                 {script: head + "if true; then\n" + section("dh_installdeb/13", moves) + "fi\n", want: head + "if true; then\n" + cut + "fi\n"},
		"nothing to take out":            {script: head + "adduser acme\n", not: true},
		"another command in it":          {script: head + section("dh_installdeb/13", moves+"rm -rf /var/lib/acme\n"), not: true},
		"a command in an argument":       {script: head + section("dh_installdeb/13", `dpkg-maintscript-helper rm_conffile $(touch /x) 1 -- "$@"`+"\n"), not: true},
		"another command of the helper":  {script: head + section("dh_installdeb/13", `dpkg-maintscript-helper supports rm_conffile -- "$@"`+"\n"), not: true},
		"two packages compiled":          {script: head + section("dh_python3", strings.Replace(compile, "pypy3compile -p python3-acme", "pypy3compile -p python3-other", 1)), not: true},
		"no end":                         {script: head + "# Automatically added by dh_installdeb/13\n" + moves, not: true},
		"no shell":                       {script: "#!/usr/bin/perl\n" + section("dh_installdeb/13", moves), not: true},
		"a shell with other options":     {script: "#!/bin/sh -ex\n" + section("dh_installdeb/13", moves), not: true},
		"certificates and what is known": {script: head + certificates, want: head + quickCertificates},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := maintscript.New().Shorten(tt.script, none)
			got.Calls = nil
			if want := (maintscript.Short{Text: tt.want, Compile: tt.compile}); ok == tt.not || ok && !cmp.Equal(got, want) {
				t.Errorf("ok is %v: %s", ok, cmp.Diff(want, got))
			}
		})
	}
}

// TestCallsThatStay are of scripts that do something else, too.
func TestCallsThatStay(t *testing.T) {
	calls := [][]string{{"-p", "python3-acme:arm64", "/usr/share/acme"}}
	for name, script := range map[string]string{
		"nothing shortened": head + section("dh_python3", compile) + "adduser acme\n",
		"shortened":         head + section("dh_python3", compile) + section("dh_installdeb/13", moves) + "adduser acme\n",
	} {
		if got, _ := maintscript.New().Shorten(script, none); !cmp.Equal(got.Calls, calls) || got.Compile != nil {
			t.Errorf("%s: calls that stay are %v, others %v", name, got.Calls, got.Compile)
		}
	}
	if got, _ := maintscript.New().Shorten(head+section("dh_python3", compile), none); got.Calls != nil {
		t.Errorf("calls of a script that is not run are %v", got.Calls)
	}
}

const (
	certificates      = "crts=x\n   if (echo \"$CERTS_DISABLED\" | grep -F -q -x \"$crt\") > /dev/null 2>&1; then\n     :\n   fi\n"
	quickCertificates = "crts=x\n   if case \"\n$CERTS_DISABLED\n\" in *\"\n$crt\n\"*) true ;; *) false ;; esac; then\n     :\n   fi\n"
)

// locales is the passage of locales.postinst, with a reader of its own names.
const locales = `SUPPORTED_LOCALES=$(cat "$SUPPORTED")
        echo "$SUPPORTED_LOCALES" | while read locale ; do
           if ! grep -q "^[# ]*$locale *\$" $LG; then 
             echo "# $locale" >> $LG
           fi
        done
`

// TestPassagesDoTheSame runs passages of scripts, and what they become, on the same files.
func TestPassagesDoTheSame(t *testing.T) {
	oracle.Need(t, "dash")
	certs := "for crt in a.crt b.crt 'mozilla/c*.crt' d.crt ''; do\n" +
		`   if (echo "$CERTS_DISABLED" | grep -F -q -x "$crt") > /dev/null 2>&1; then` + "\necho disabled\n" +
		`   elif (echo "$CERTS_TRUST" | grep -F -q -x "$crt") > /dev/null 2>&1; then` + "\necho trusted\nelse echo new\nfi\ndone\n"
	for name, tt := range map[string]struct{ script, file string }{
		"locales, a new file":             {locales, "# This file lists locales\n#\n\n"},
		"locales, some there":             {locales, "# xx_XX UTF-8\n  de_DE.UTF-8 UTF-8  \n#en_US.UTF-8 UTF-8\naa_ER@saaho UTF-8\n# # ca_ES UTF-8\n"},
		"certificates, nothing known":     {certs, ""},
		"certificates, some are known":    {"CERTS_DISABLED='b.crt\nmozilla/c*.crt'\nCERTS_TRUST='x\na.crt'\n" + certs, ""},
		"certificates, parts of a line":   {"CERTS_DISABLED='aa.crt b.crt'\nCERTS_TRUST='mozilla/cc.crt'\n" + certs, ""},
		"certificates, an empty variable": {"CERTS_DISABLED='a.crt\n\nb.crt'\n" + certs, ""},
	} {
		t.Run(name, func(t *testing.T) {
			short, ok := maintscript.New().Shorten("#!/bin/sh\n"+tt.script, none)
			if !ok || strings.Contains(short.Text, "grep") {
				t.Fatalf("nothing was replaced: %s", short.Text)
			}
			want, got := after(t, "#!/bin/sh\n"+tt.script, tt.file), after(t, short.Text, tt.file)
			if want != got {
				t.Error(cmp.Diff(want, got))
			}
		})
	}
}

// after runs a script and returns what it says and what is in its file then.
func after(t *testing.T, script, file string) string {
	t.Helper()
	dir := t.TempDir()
	supported, lg := filepath.Join(dir, "SUPPORTED"), filepath.Join(dir, "locale.gen")
	for p, text := range map[string]string{lg: file, supported: "aa_DJ.UTF-8 UTF-8\naa_ER@saaho UTF-8\nca_ES UTF-8\nde_DE.UTF-8 UTF-8\nen_US UTF-8\nen_US.UTF-8 UTF-8\n"} {
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "dash", "-c", script)
	cmd.Env = append(os.Environ(), "LG="+lg, "SUPPORTED="+supported)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	text, err := os.ReadFile(lg)
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n" + string(text)
}

// TestHelperDoesNothing asks the real dpkg-maintscript-helper for what is taken out: at a first installation it must change nothing.
func TestHelperDoesNothing(t *testing.T) {
	oracle.Need(t, "dpkg-maintscript-helper")
	for _, script := range []string{"preinst", "postinst"} {
		for _, args := range [][]string{
			{"rm_conffile", "/etc/acme.conf", "1.2~"}, {"mv_conffile", "/etc/acme.conf", "/etc/acme.d/acme.conf", "1.2~"},
			{"symlink_to_dir", "/usr/share/link", "target", "1.2~"}, {"dir_to_symlink", "/usr/share/acme", "../other", "1.2~"},
		} {
			root := t.TempDir()
			for _, dir := range []string{"etc", "usr/share/acme", "var/lib/dpkg/info"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(root, "etc/acme.conf"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("target", filepath.Join(root, "usr/share/link")); err != nil {
				t.Fatal(err)
			}
			before := listing(t, root)
			first := map[string][]string{"preinst": {"install"}, "postinst": {"configure", ""}}[script]
			cmd := exec.CommandContext(t.Context(), "dpkg-maintscript-helper", slices.Concat(args, []string{"--"}, first)...)
			cmd.Env = append(os.Environ(), "DPKG_ROOT="+root, "DPKG_ADMINDIR="+root+"/var/lib/dpkg", "DPKG_MAINTSCRIPT_NAME="+script, "DPKG_MAINTSCRIPT_PACKAGE=acme")
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s in a %s: %v: %s", args[0], script, err, out)
			}
			if now := listing(t, root); now != before {
				t.Errorf("%s in a %s: %s", args[0], script, cmp.Diff(before, now))
			}
		}
	}
}

func listing(t *testing.T, root string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "find", root, "-printf", "%P %y %l %s %T@\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func FuzzShorten(f *testing.F) {
	f.Add(head + section("dh_installdeb/13", moves) + "x\n")
	f.Add(head + section("dh_python3", compile))
	f.Add(head + certificates + locales)
	f.Add(head + section("dh_installsystemd/13.11.4", enable("acme.service")))
	r := maintscript.New()
	links := func(unit string) []string { return []string{"multi-user.target.wants/" + unit} }
	f.Fuzz(func(t *testing.T, script string) {
		short, ok := r.Shorten(script, links)
		if ok && short.Text == script {
			t.Error("nothing was done")
		}
		if len(short.Text) > 20*len(script) { // a unit's name, which takes most of a fragment if it is long, is there at most sixteen times more
			t.Errorf("%d bytes became %d", len(script), len(short.Text))
		}
	})
}
