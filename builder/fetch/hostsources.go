package fetch

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// HostSource is an archive that the build host's apt uses, with the suites it is used for.
type HostSource struct {
	URI    string
	Suites []string
}

// HostSources reads /etc/apt/sources.list, sources.list.d/*.list (one line per source) and
// *.sources (deb822) below root, as sources.list(5) of apt describes them, in apt's order. It
// skips sources of source packages, disabled ones, and schemes other than http and https. A host
// without apt has none.
func HostSources(root string) ([]HostSource, error) {
	base := filepath.Join(root, "etc", "apt")
	files := []string{filepath.Join(base, "sources.list")}
	entries, err := os.ReadDir(filepath.Join(base, "sources.list.d"))
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("reading apt sources of the build host: %w", err)
	}
	for _, e := range entries {
		files = append(files, filepath.Join(base, "sources.list.d", e.Name()))
	}
	var out []HostSource
	for _, name := range files {
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading apt sources of the build host: %w", err)
		}
		switch filepath.Ext(name) {
		case ".list":
			out = append(out, parseLines(string(text))...)
		case ".sources":
			out = append(out, parseStanzas(string(text))...)
		}
	}
	return out, nil
}

// parseLines reads "deb [options] uri suite components...".
func parseLines(text string) []HostSource {
	var out []HostSource
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		if kind != "deb" {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 2 && usable(f[0]) {
			out = append(out, HostSource{URI: f[0], Suites: f[1:2]})
		}
	}
	return out
}

// parseStanzas reads deb822: fields of stanzas, continued by lines that begin with a space.
func parseStanzas(text string) []HostSource {
	var out []HostSource
	stanza, field := map[string]string{}, ""
	flush := func() {
		out = append(out, fromStanza(stanza)...)
		stanza, field = map[string]string{}, ""
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20) // a stanza may hold a whole key
	for lines.Scan() {
		line := lines.Text()
		name, value, ok := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			stanza[field] += " " + strings.TrimSpace(line)
		case ok:
			field = strings.ToLower(name)
			stanza[field] = strings.TrimSpace(value)
		}
	}
	flush()
	return out
}

func fromStanza(stanza map[string]string) []HostSource {
	switch strings.ToLower(stanza["enabled"]) {
	case "no", "false", "without", "off", "disable":
		return nil
	}
	binary := false
	for _, t := range strings.Fields(stanza["types"]) {
		binary = binary || t == "deb"
	}
	if !binary {
		return nil
	}
	var out []HostSource
	for _, uri := range strings.Fields(stanza["uris"]) {
		if usable(uri) {
			out = append(out, HostSource{URI: uri, Suites: strings.Fields(stanza["suites"])})
		}
	}
	return out
}

func usable(uri string) bool { return checkURL(uri, "http", "https") == nil }

// AptURLs returns the URLs to try for profileURL: first the same path in the build host's own
// sources of the same archive, then profileURL. An archive is told by its name (debian,
// debian-security, ubuntu, ubuntu-ports): the first path element of an official host's URL, the
// last of a host source's URI. Any other URL stands alone.
func AptURLs(profileURL string, sources []HostSource) []string {
	archive, rest, ok := archiveOf(profileURL)
	if !ok {
		return []string{profileURL}
	}
	var out []string
	seen := map[string]bool{profileURL: true}
	for _, s := range sources {
		uri := strings.TrimRight(s.URI, "/")
		candidate := uri + rest
		if uri[strings.LastIndexByte(uri, '/')+1:] == archive && !seen[candidate] {
			seen[candidate] = true
			out = append(out, candidate)
		}
	}
	return append(out, profileURL)
}

// archiveOf splits http://ftp.debian.org/debian/pool/x into "debian" and "/pool/x".
func archiveOf(raw string) (archive, rest string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return "", "", false
	}
	archive, _, _ = strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	host := u.Hostname()
	switch archive {
	case "debian", "debian-security":
		ok = host == "debian.org" || strings.HasSuffix(host, ".debian.org")
	case "ubuntu", "ubuntu-ports":
		ok = host == "ubuntu.com" || strings.HasSuffix(host, ".ubuntu.com")
	}
	_, rest, _ = strings.Cut(raw, u.Host)
	return archive, strings.TrimPrefix(rest, "/"+archive), ok
}
