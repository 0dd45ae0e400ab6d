package profile

import (
	"fmt"
	"regexp"
	"strings"
)

// validator checks what types can't say. It goes on after a fault.
type validator struct {
	origins map[string]Origin
	partial bool
	// known are the decoder's faults: what it has reported is not reported again.
	known  []Fault
	faults []Fault
}

func (v *validator) add(path, format string, args ...any) {
	if reported(v.known, path) {
		return
	}
	at := v.origin(path)
	v.faults = append(v.faults, Fault{
		File: at.File, Line: at.Line, Column: at.Column,
		Path: path, Message: path + ": " + fmt.Sprintf(format, args...),
	})
}

// missing is a fault of a finished profile only.
func (v *validator) missing(path, advice string) {
	if !v.partial {
		v.add(path, "is missing; %s", advice)
	}
}

// origin is that of the value, or of the nearest mapping or list that a file gave around it.
func (v *validator) origin(path string) Origin {
	for {
		if at, ok := v.origins[path]; ok && at.Line > 0 || path == "" {
			return at
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

func (v *validator) match(path, value string, pattern *regexp.Regexp, rule string) {
	if value != "" && !pattern.MatchString(value) {
		v.add(path, "%q is not valid: %s", value, rule)
	}
}

// patterns are made once for each validation; a profile is validated once.
type patterns struct {
	name, pkg, unit, module, sysctl, user, fingerprint, sum, host, sha256 *regexp.Regexp
}

func newPatterns() patterns {
	c := regexp.MustCompile
	return patterns{
		name: c(`^[a-z0-9][a-z0-9.-]*$`),
		// Debian policy 5.6.1 for the name, apt's syntax for the rest.
		pkg:         c(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[0-9A-Za-z.+:~-]+|/[a-z0-9-]+)?$`),
		unit:        c(`^[A-Za-z0-9:_.@\\-]+\.(service|socket|timer|target|path|mount|automount|slice|swap|device|scope)$`),
		module:      c(`^[A-Za-z0-9_-]+$`),
		sysctl:      c(`^-?[A-Za-z0-9_*-]+([./][A-Za-z0-9_*-]+)+$`),
		user:        c(`^[a-z_][a-z0-9_-]{0,31}$`),
		fingerprint: c(`^[0-9A-Fa-f]{40}$`),
		sha256:      c(`^[0-9a-f]{64}$`),
		sum:         c(`^h1:[A-Za-z0-9+/]{43}=$`),
		host:        c(`^[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?$`),
	}
}

func (v *validator) profile(p Profile) {
	re := newPatterns()
	v.match("name", p.Name, re.name, "lower-case letters, digits, dots and hyphens")
	v.match("hostname", p.Hostname, re.host, "letters, digits and hyphens, 64 at most, without a domain")
	if p.Arch == "" {
		v.missing("arch", "arm64 or amd64")
	}
	v.base(p, re)
	v.sources(p.Apt.Sources, re)
	for i, name := range p.Packages {
		v.match(at("packages", i), name, re.pkg, "a package name, name=version, name/suite or name-")
	}
	v.components(p, re)
	v.boot(p)
	v.disk(p)
	v.users(p.Users, re)
	v.services(p.Services, re)
	for i, name := range p.Modules {
		v.match(at("modules", i), name, re.module, "a kernel module's name without .ko")
	}
	for _, key := range sortedKeys(p.Sysctls) {
		v.match("sysctls."+key, key, re.sysctl, "a sysctl has dots: net.ipv4.ip_forward")
		v.oneLine("sysctls."+key, p.Sysctls[key])
	}
}

func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func (v *validator) oneLine(path, value string) {
	if strings.ContainsAny(value, "\n\r\x00") {
		v.add(path, "has a line break; it must be one line")
	}
}

func (v *validator) sources(sources []Source, re patterns) {
	if len(sources) == 0 {
		v.missing("apt.sources", "extend debian-12 or name an archive")
	}
	seen := map[string]bool{}
	for i, s := range sources {
		path := at("apt.sources", i)
		if seen[s.Name] && s.Name != "" {
			v.add(path+".name", "a source called %s is already there", s.Name)
		}
		seen[s.Name] = true
		v.source(path, s, re)
	}
}

func (v *validator) source(path string, s Source, re patterns) {
	for _, u := range []struct{ key, value string }{{"url", s.URL}, {"snapshot", s.Snapshot}} {
		if u.value != "" && !strings.HasPrefix(u.value, "http://") && !strings.HasPrefix(u.value, "https://") && !strings.HasPrefix(u.value, "file:///") {
			v.add(path+"."+u.key, "%q must start with http://, https:// or file:///", u.value)
		}
	}
	if len(s.Suites) == 0 {
		v.add(path+".suites", "needs at least one suite")
	}
	for i, suite := range s.Suites {
		flat := strings.HasSuffix(suite, "/")
		if flat && len(s.Components) > 0 {
			v.add(at(path+".suites", i), "a flat repository (%s) has no components", suite)
		}
		if !flat && len(s.Components) == 0 {
			v.add(at(path+".suites", i), "suite %s needs components; only a flat repository, whose suite ends in a slash, has none", suite)
		}
	}
	if len(s.Fingerprints) == 0 {
		v.add(path+".fingerprints", "needs at least one: without it, any key of the keyring could sign")
	}
	for i, f := range s.Fingerprints {
		v.match(at(path+".fingerprints", i), f, re.fingerprint, "a fingerprint has 40 hexadecimal digits (gpg --show-keys)")
	}
}

func (v *validator) users(users []User, re patterns) {
	seen := map[string]bool{}
	for i, u := range users {
		path := at("users", i)
		v.match(path+".name", u.Name, re.user, "a lower-case letter or _, then letters, digits, _ and -, 32 at most")
		if seen[u.Name] {
			v.add(path+".name", "user %s is already there", u.Name)
		}
		seen[u.Name] = true
		v.absolute(path+".shell", u.Shell)
		v.absolute(path+".home", u.Home)
		for j, g := range u.Groups {
			v.match(at(path+".groups", j), g, re.user, "a group's name")
		}
		v.keys(path, u.AuthorizedKeys)
	}
}

func (v *validator) keys(path string, keys []string) {
	for i, key := range keys {
		where := at(path+".authorizedKeys", i)
		v.oneLine(where, key)
		if strings.Contains(key, "PRIVATE KEY") {
			v.add(where, "is a private key; it must never be in an image")
		} else if !strings.Contains(key, "ssh-") && !strings.Contains(key, "ecdsa-") {
			v.add(where, "is no public SSH key (ssh-ed25519 AAAA...)")
		}
	}
}

func (v *validator) services(s Services, re patterns) {
	done := map[string]string{}
	for _, list := range []struct {
		key   string
		units []string
	}{{"enable", s.Enable}, {"disable", s.Disable}, {"mask", s.Mask}} {
		for i, unit := range list.units {
			path := at("services."+list.key, i)
			v.match(path, unit, re.unit, "a systemd unit has a suffix: "+unit+".service")
			if before := done[unit]; before != "" {
				v.add(path, "%s is already under %s", unit, before)
			}
			done[unit] = list.key
		}
	}
}

func (v *validator) absolute(path, value string) {
	if value != "" && (!strings.HasPrefix(value, "/") || strings.Contains(value+"/", "/../")) {
		v.add(path, "%q must be an absolute path", value)
	}
}
