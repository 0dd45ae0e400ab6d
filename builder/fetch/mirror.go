package fetch

import (
	"fmt"
	"net/url"
	"strings"
)

// Mirror replaces the beginning Prefix of URLs by URL. Of several that match, the one with the
// longest prefix is used; the replaced URL itself is not tried.
type Mirror struct{ Prefix, URL string }

// ParseMirror reads PREFIX=URL. Both are http or https URLs; URL may be a file URL too.
func ParseMirror(s string) (Mirror, error) {
	prefix, target, ok := strings.Cut(s, "=http")
	scheme := "http"
	if !ok {
		prefix, target, ok = strings.Cut(s, "=file:")
		scheme = "file:"
	}
	if !ok {
		return Mirror{}, fmt.Errorf("parsing mirror %q: want PREFIX=URL with an http, https or file URL", s)
	}
	m := Mirror{Prefix: prefix, URL: scheme + target}
	if err := checkURL(m.Prefix, "http", "https"); err != nil {
		return Mirror{}, fmt.Errorf("parsing prefix of mirror %q: %w", s, err)
	}
	if err := checkURL(m.URL, "http", "https", "file"); err != nil {
		return Mirror{}, fmt.Errorf("parsing mirror %q: %w", s, err)
	}
	return m, nil
}

func checkURL(raw string, schemes ...string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	for _, s := range schemes {
		if u.Scheme == s && (u.Host != "" || s == "file" && strings.HasPrefix(u.Path, "/")) {
			return nil
		}
	}
	return fmt.Errorf("%q is no full URL with scheme %s", redact(raw), strings.Join(schemes, " or "))
}

// rewrite returns the mirrored URL. A prefix ends at the end of a path element.
func rewrite(raw string, mirrors []Mirror) (string, bool) {
	best := Mirror{}
	for _, m := range mirrors {
		p := strings.TrimSuffix(m.Prefix, "/")
		rest, ok := strings.CutPrefix(raw, p)
		if ok && (rest == "" || rest[0] == '/' || rest[0] == '?') && len(p) > len(strings.TrimSuffix(best.Prefix, "/")) {
			best = m
		}
	}
	if best.Prefix == "" {
		return raw, false
	}
	rest := strings.TrimPrefix(raw, strings.TrimSuffix(best.Prefix, "/"))
	return strings.TrimSuffix(best.URL, "/") + rest, true
}

// urls returns what is tried for the URLs of a request: the mirror where one is named, else the
// build host's own source of the distribution and then the URL itself.
func (c *Client) urls(given []string) []string {
	var out []string
	seen := map[string]bool{}
	add := func(u string) {
		if !seen[u] {
			seen[u] = true
			out = append(out, u)
		}
	}
	for _, u := range given {
		if mirrored, ok := rewrite(u, c.cfg.Mirrors); ok {
			add(mirrored)
			continue
		}
		for _, a := range AptURLs(u, c.cfg.AptSources) {
			add(a)
		}
	}
	return out
}

func onlyFiles(urls []string) []string {
	var out []string
	for _, u := range urls {
		if strings.HasPrefix(u, "file:") {
			out = append(out, u)
		}
	}
	return out
}
