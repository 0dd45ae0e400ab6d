// Package maintscript recognises what debhelper writes into packages' maintainer scripts.
//
// A fragment is what one of debhelper's programs added: lines between "# Automatically added by dh_..." and "# End
// automatically added section", filled in from a template (debhelper, directory autoscripts). At a package's first
// installation, where no systemd runs, most do nothing but start programs that find nothing to do:
//
//   - dh_installdeb: dpkg-maintscript-helper moves files of earlier versions (its manual, and dpkg's
//     scripts/dpkg-maintscript-helper.sh: all four commands ask for an earlier version or for what the preinst left);
//   - dh_installinit in a preinst: makes the script of an earlier version executable again;
//   - dh_installsystemd: starts units, when /run/systemd/system is there;
//   - dh_python3: has py3compile compile the package's modules, which can be done at any time.
//
// One does something that takes no program to find out, dh_installsystemd's that enables units: the links that it makes can be
// told before. It becomes commands that make these, if at that time there is nothing yet that it would have to look at.
//
// Some scripts have passages that start hundreds of programs. The few that cost most are known word for word.
//
// Supported are these, as the versions of debhelper in Debian 11 to 13 write them; all else is left as it is. Shell scripts
// only: a fragment in another language is in another form.
package maintscript

import (
	"regexp"
	"strings"
)

// Short is a script without the fragments that do nothing.
type Short struct {
	// Text is what is left, or empty when nothing is left to run.
	Text string
	// Compile are the arguments of calls of py3compile that the script would have made. A script that does anything else
	// makes them itself.
	Compile [][]string
	// Calls are the arguments of those that are left in it, also when there was nothing to shorten.
	Calls [][]string
}

// kind is what a fragment does.
type kind int

const (
	other kind = iota
	nothing
	compiles
	enables
)

// Recogniser knows debhelper's templates. It does not change, and may be shared.
type Recogniser struct{ templates map[kind][]*regexp.Regexp }

// New compiles the templates.
func New() Recogniser {
	r := Recogniser{templates: map[kind][]*regexp.Regexp{}}
	for what, list := range templates() {
		for _, t := range list {
			r.templates[what] = append(r.templates[what], regexp.MustCompile(`\A`+t+`\z`))
		}
	}
	return r
}

// Links tells the links below /etc/systemd/system that enabling a unit makes, or none when that is not known.
type Links func(unit string) []string

// Shorten takes fragments out of a script, and replaces passages; ok is false when there was nothing to do. A fragment becomes a command that does
// nothing: it may be all that is between "then" and "fi". One that enables a unit of which links are known makes these.
func (r Recogniser) Shorten(script string, links Links) (s Short, ok bool) {
	if !shell(script) {
		return Short{}, false
	}
	quick := quicken(script)
	parts := split(quick)
	taken, left := 0, false
	for _, p := range parts {
		switch what, args := r.classify(p); {
		case what == nothing:
			taken++
		case what == compiles:
			s.Compile = append(s.Compile, args)
			taken++
		case p.fragment || !idle(p.text):
			left = true
		}
	}
	if taken > 0 && !left {
		return s, true
	}
	s.Compile, s.Calls = nil, s.Compile
	var out strings.Builder
	for _, p := range parts {
		switch what, args := r.classify(p); what {
		case nothing:
			out.WriteString(":\n")
		case enables:
			out.WriteString(enabling(p, args[0], links(args[0])))
		default:
			out.WriteString(p.text)
		}
	}
	s.Text = out.String()
	return s, s.Text != script
}

// part is a fragment, or what is between two.
type part struct {
	fragment bool
	text     string // with the comments at both ends, when it is a fragment
	inner    string // without
}

const (
	begin = "# Automatically added by "
	end   = "# End automatically added section"
)

func split(script string) (parts []part) {
	var text, inner strings.Builder
	inside := false
	flush := func() {
		if text.Len() > 0 {
			parts = append(parts, part{fragment: inside, text: text.String(), inner: inner.String()})
		}
		text.Reset()
		inner.Reset()
	}
	for line := range strings.Lines(script) {
		switch trimmed := strings.TrimRight(line, "\n"); {
		case !inside && strings.HasPrefix(trimmed, begin):
			flush()
			inside = true
			text.WriteString(line)
		case inside && trimmed == end:
			text.WriteString(line)
			flush()
			inside = false
		default:
			text.WriteString(line)
			inner.WriteString(line)
		}
	}
	inside = false // without an end it is none
	flush()
	return parts
}

// shell reports whether a script is one for sh, with no more options than -e.
func shell(script string) bool {
	first, _, _ := strings.Cut(script, "\n")
	return regexp.MustCompile(`^#! ?/bin/(sh|bash|dash)( -e)? *$`).MatchString(first)
}

// idle reports whether text outside of fragments does nothing.
func idle(text string) bool {
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case line == "", strings.HasPrefix(line, "#"), line == "set -e", line == "exit 0", line == ":":
		default:
			return false
		}
	}
	return true
}

const (
	configures = `if \[ "\$1" = "configure" \] \|\| \[ "\$1" = "abort-upgrade" \] \|\| \[ "\$1" = "abort-deconfigure" \] \|\| \[ "\$1" = "abort-remove" \] ; then\n`
	oneUnit    = `'([A-Za-z0-9:_.@-]+)'`
	comments   = `(?:\t*# .*\n|\n)*`
	noRoot     = `(\[ -z "\$\{DPKG_ROOT:-\}" \] && )?`
	units      = `( '[A-Za-z0-9:_.@\\-]+')+`
	silently   = ` >/dev/null \|\| true\n`
	packages   = `([a-z0-9][a-z0-9+.-]*(?::[a-z0-9]+)?)`
)

// templates are those of debhelper, by what they do.
func templates() map[kind][]string {
	starts := configures + `\tif ` + noRoot + `\[ -d /run/systemd/system \]; then\n` +
		`\t\tsystemctl --system daemon-reload` + silently
	return map[kind][]string{
		nothing: {
			// Arguments are words without anything that the shell would carry out.
			`(dpkg-maintscript-helper (rm_conffile|mv_conffile|symlink_to_dir|dir_to_symlink)( [A-Za-z0-9/_.:+~\\@=,-]+)+ -- "\$@"\n)+`,
			// preinst-init-chmod
			`if \[ "\$1" = "install" \] && \[ -n "\$2" \] && \[ -e "/etc/init.d/[A-Za-z0-9_.+-]+" \] ; then\n` +
				`\tchmod \+x "/etc/init.d/[A-Za-z0-9_.+-]+"` + silently + `fi\n`,
			// postinst-systemd-start, postinst-systemd-restart, and the latter without a start
			starts + `\t\tdeb-systemd-invoke (start|\$_dh_action)` + units + silently + `\tfi\nfi\n`,
			starts + `\t\tif \[ -n "\$2" \]; then\n\t\t\t_dh_action=(try-)?restart\n\t\telse\n\t\t\t_dh_action=start\n\t\tfi\n` +
				`\t\tdeb-systemd-invoke \$_dh_action` + units + silently + `\tfi\nfi\n`,
			starts + `\t\tif \[ -n "\$2" \]; then\n\t\t\tdeb-systemd-invoke (try-)?restart` + units + silently + `\t\tfi\n\tfi\nfi\n`,
		},
		enables: {
			// postinst-systemd-enable
			configures + comments + `\tdeb-systemd-helper unmask ` + oneUnit + silently + comments + `\tif deb-systemd-helper --quiet was-enabled ` + oneUnit + `; then\n` +
				comments + `\t\tdeb-systemd-helper enable ` + oneUnit + silently + `\telse\n` +
				comments + `\t\tdeb-systemd-helper update-state ` + oneUnit + silently + `\tfi\nfi\n`,
		},
		compiles: {
			`if (?:which|command -v) py3compile >/dev/null 2>&1; then\n\tpy3compile -p ` + packages + ` ?([A-Za-z0-9/_. -]*)\nfi\n` +
				`if (?:which|command -v) pypy3compile >/dev/null 2>&1; then\n\tpypy3compile -p ` + packages + ` ?([A-Za-z0-9/_. -]*) \|\| true\nfi\n`,
		},
	}
}

// classify says what a fragment does, and for py3compile with which arguments.
func (r Recogniser) classify(p part) (kind, []string) {
	if !p.fragment {
		return other, nil
	}
	inner := strings.TrimRight(p.inner, "\n") + "\n"
	for what, list := range r.templates {
		for _, t := range list {
			m := t.FindStringSubmatch(inner)
			switch {
			case m == nil:
			case what == enables && m[1] == m[2] && m[1] == m[3] && m[1] == m[4]:
				return what, m[1:2]
			case what == enables:
			case what != compiles:
				return what, nil
			case m[1] == m[3] && strings.TrimSpace(m[2]) == strings.TrimSpace(m[4]):
				return what, append([]string{"-p", m[1]}, strings.Fields(m[2])...)
			}
		}
	}
	return other, nil
}
