package maintscript

import (
	"path"
	"slices"
	"strings"
)

// enabling is a fragment that enables a unit, with what it does at a first installation in front: systemctl makes the links, and
// deb-systemd-helper keeps their names in files of its own (its make_systemd_links). It does so only where none of them is there,
// nobody has masked the unit or made one of that name, as in what it replaces.
func enabling(p part, unit string, links []string) string {
	if len(links) == 0 {
		return p.text
	}
	const units, state = `"${DPKG_ROOT:-}"/etc/systemd/system/`, `"${DPKG_ROOT:-}"/var/lib/systemd/deb-systemd-helper-enabled/`
	absent := []string{units + unit, `"${DPKG_ROOT:-}"/var/lib/systemd/deb-systemd-helper-masked`,
		`"${DPKG_ROOT:-}"/var/lib/systemd/deb-systemd-user-helper-masked`, state + unit + ".dsh-also"}
	var dirs []string
	var make, names strings.Builder
	for _, link := range links {
		absent = append(absent, units+link, state+link)
		dirs = append(dirs, units+path.Dir(link), state+path.Dir(link))
		make.WriteString("\tln -s /lib/systemd/system/" + unit + " " + units + link + "\n\t: >" + state + link + "\n")
		names.WriteString("/etc/systemd/system/" + link + "\n")
	}
	var out strings.Builder
	out.WriteString(`if [ "$1" = configure ] && [ -z "$2" ]`)
	for _, file := range absent {
		out.WriteString(" && ! [ -e " + file + " ] && ! [ -L " + file + " ]")
	}
	slices.Sort(dirs)
	out.WriteString("; then\n\tmkdir -p " + strings.Join(slices.Compact(dirs), " ") + "\n" + make.String() +
		"\techo '" + strings.TrimSuffix(names.String(), "\n") + "' >" + state + unit + ".dsh-also\nelse\n" + p.inner + "fi\n")
	return out.String()
}
