// Package hostapt reads where the build host itself gets its packages from.
//
// A Host is the distribution's own archives as /etc/apt names them. An archive of a profile is
// tried there first: the mirror is near, and behind a proxy it is often the only one in reach.
// Only sources that are signed by the distribution's keyring, or whose path ends as the
// distribution's archives do (/debian, /debian-security, /ubuntu, /ubuntu-ports), are the
// distribution's own; third-party sources never stand in for it. What is fetched is verified as
// from everywhere else, so a wrong guess costs time and nothing more.
//
// Supported: one-line *.list and deb822 *.sources files, http and https.
package hostapt

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Host is what a build host's apt is configured with. The zero value prefers nothing.
type Host struct {
	archives map[string][]string // kind of archive to base URLs
}

// Read reads the configuration below root, "/" for this machine. Files that can't be read count
// as empty: the profile's own URLs remain.
func Read(root string) Host {
	h := Host{archives: map[string][]string{}}
	files := []string{filepath.Join(root, "etc/apt/sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		found, _ := filepath.Glob(filepath.Join(root, "etc/apt/sources.list.d", pattern)) // the pattern is valid
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if strings.HasSuffix(file, ".sources") {
			h.addStanzas(string(text))
		} else {
			h.addLines(string(text))
		}
	}
	return h
}

// BaseURLs returns the addresses of the archive at upstream in the order to try: the host's own
// for the same kind of archive, then upstream itself.
func (h Host) BaseURLs(upstream string) []string {
	upstream = strings.TrimRight(upstream, "/")
	urls := slices.Clone(h.archives[kindOfURL(upstream)])
	if i := slices.Index(urls, upstream); i >= 0 {
		return append(append([]string{upstream}, urls[:i]...), urls[i+1:]...)
	}
	return append(urls, upstream)
}

// Prefers reports whether the host has an archive of its own for upstream.
func (h Host) Prefers(upstream string) bool { return len(h.BaseURLs(upstream)) > 1 }

// source is one entry of the configuration.
type source struct {
	types, uris, suites, components []string
	signedBy                        string
	disabled                        bool
}

func (h Host) addLines(text string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		var s source
		if open := strings.IndexByte(line, '['); open >= 0 {
			end := strings.IndexByte(line, ']')
			if end < open {
				continue
			}
			for _, option := range strings.Fields(line[open+1 : end]) {
				if value, ok := strings.CutPrefix(option, "signed-by="); ok {
					s.signedBy = value
				}
			}
			line = line[:open] + line[end+1:]
		}
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		s.types, s.uris, s.suites, s.components = f[:1], f[1:2], f[2:3], f[3:]
		h.add(s)
	}
}

func (h Host) addStanzas(text string) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for _, stanza := range strings.Split(text, "\n\n") {
		h.add(parseStanza(stanza))
	}
}

func parseStanza(stanza string) source {
	fields, last := map[string]string{}, ""
	for line := range strings.Lines(stanza) {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			fields[last] += " " + strings.TrimSpace(line)
		default:
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(name))
			fields[last] = strings.TrimSpace(value)
		}
	}
	return source{
		types: strings.Fields(fields["types"]), uris: strings.Fields(fields["uris"]),
		suites: strings.Fields(fields["suites"]), components: strings.Fields(fields["components"]),
		signedBy: fields["signed-by"], disabled: strings.EqualFold(fields["enabled"], "no"),
	}
}

func (h Host) add(s source) {
	if s.disabled || !slices.Contains(s.types, "deb") || !slices.Contains(s.components, "main") {
		return
	}
	for _, uri := range s.uris {
		uri = strings.TrimRight(uri, "/")
		if u, err := url.Parse(uri); err != nil || u.Scheme != "http" && u.Scheme != "https" {
			continue
		}
		kind := s.kind(uri)
		if kind != "" && !slices.Contains(h.archives[kind], uri) {
			h.archives[kind] = append(h.archives[kind], uri)
		}
	}
}

// kind says which of the distributions' archives the source is, or "".
func (s source) kind(uri string) string {
	if kind := kindOfURL(uri); kind != "" {
		return kind
	}
	security := slices.ContainsFunc(s.suites, func(suite string) bool { return strings.HasSuffix(suite, "-security") })
	switch {
	case !strings.Contains(s.signedBy, "debian-archive-keyring"):
		return ""
	case security:
		return "debian-security"
	}
	return "debian"
}

// kindOfURL knows the archives by the last element of their path.
func kindOfURL(uri string) string {
	switch last := path.Base(strings.TrimRight(uri, "/")); last {
	case "debian", "debian-security", "ubuntu", "ubuntu-ports":
		return last
	}
	return ""
}
