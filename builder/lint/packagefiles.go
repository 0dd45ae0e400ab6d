package lint

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"regexp"
	goruntime "runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/tree"
)

const (
	infoDir = "var/lib/dpkg/info"
	// maxList bounds one file of dpkg's database; those of kernel headers have about 2 MB.
	maxList = 16 << 20
)

// packageFile is a file as dpkg's database describes it.
type packageFile struct {
	owner, path, md5 string
	entry            tree.Entry
}

// checkPackageFiles compares dpkg's database with what is there, as dpkg --verify does. A profile may replace a
// package's file on purpose, but the next upgrade of the package undoes that: so it is a warning, not an error.
func checkPackageFiles(s *system) []Finding {
	var found []Finding
	var there []packageFile
	excluded := s.pathExcludes()
	for _, f := range s.packageFiles() {
		e, err := s.root.Resolve(f.path)
		switch {
		case err == nil && e.Type == tree.File:
			f.entry = e
			there = append(there, f)
		case !excluded("/" + f.path):
			found = append(found, caution("/"+f.path, "install "+f.owner+" again, or leave it out", "it belongs to the package %s, and is not there", f.owner))
		}
	}
	for i, sum := range s.md5s(there) {
		if f := there[i]; sum != f.md5 {
			found = append(found, caution("/"+f.path, "put the change where upgrades leave it: below /etc or /usr/local, in a drop-in, or in a diversion",
				"its MD5 is %s, and %s of the package %s", sum, f.md5, f.owner))
		}
	}
	return found
}

// packageFiles are the files with an MD5 in dpkg's database, under the names that diversions give them. Configuration
// files are not among them, nor are files that another package has taken over: dpkg keeps their MD5s, but no longer lists them.
func (s *system) packageFiles() []packageFile {
	var out []packageFile
	conffiles, diverted := s.conffiles(), s.diversions()
	for _, e := range s.list(infoDir) {
		name, ok := strings.CutSuffix(path.Base(e.Path), ".md5sums")
		if !ok {
			continue
		}
		owner, _, _ := strings.Cut(name, ":")
		listed := s.listed(name)
		for line := range strings.Lines(s.database(infoDir + "/" + name + ".md5sums")) {
			sum, file, ok := strings.Cut(strings.TrimRight(line, "\n"), "  ")
			if file = strings.TrimPrefix(file, "./"); !ok || conffiles["/"+file] || !listed["/"+file] {
				continue
			}
			if to, ok := diverted["/"+file]; ok && to.by != owner {
				file = to.name[1:]
			}
			out = append(out, packageFile{owner: owner, path: file, md5: sum})
		}
	}
	return out
}

// database returns the text of a file of dpkg's, or nothing when there is none.
func (s *system) database(name string) string {
	e, ok := s.file(name)
	if !ok {
		return ""
	}
	return string(s.head(e, maxList))
}

// listed are the names that belong to a package.
func (s *system) listed(name string) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(s.database(infoDir + "/" + name + ".list")) {
		names[strings.TrimRight(line, "\n")] = true
	}
	return names
}

// conffiles are the configuration files of all packages: lines " /etc/x MD5" of their stanzas' fields Conffiles.
func (s *system) conffiles() map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(s.database(statusFile)) {
		if name, ok := strings.CutPrefix(line, " /"); ok {
			name, _, _ = strings.Cut(name, " ")
			names["/"+name] = true
		}
	}
	return names
}

// diversion is where files of all packages but one go.
type diversion struct{ name, by string }

// diversions reads dpkg's: three lines for each, the old name, the new one, and the package (":" is nobody's).
func (s *system) diversions() map[string]diversion {
	out := map[string]diversion{}
	lines := strings.Split(s.database("var/lib/dpkg/diversions"), "\n")
	for ; len(lines) >= 3; lines = lines[3:] {
		if strings.HasPrefix(lines[1], "/") {
			out[lines[0]] = diversion{lines[1], lines[2]}
		}
	}
	return out
}

// pathExcludes returns what dpkg is told not to unpack (dpkg(1), --path-exclude): the last word about a name counts.
func (s *system) pathExcludes() func(name string) bool {
	type word struct {
		pattern *regexp.Regexp
		exclude bool
	}
	var words []word
	for _, e := range append(s.list("etc/dpkg/dpkg.cfg.d"), tree.Entry{Path: "etc/dpkg/dpkg.cfg"}) {
		text, _ := s.text(e.Path)
		for line := range strings.Lines(text) {
			key, pattern, _ := strings.Cut(strings.TrimSpace(line), "=")
			if key == "path-exclude" || key == "path-include" {
				words = append(words, word{shellPattern(strings.TrimSpace(pattern)), key == "path-exclude"})
			}
		}
	}
	return func(name string) (out bool) {
		for _, w := range words {
			if w.pattern.MatchString(name) {
				out = w.exclude
			}
		}
		return out
	}
}

// shellPattern is a pattern of fnmatch(3) without flags, in which "*" matches slashes, too. Brackets, which no
// distribution's configuration has, match themselves.
func shellPattern(p string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(p)
	for old, as := range map[string]string{`\*`: ".*", `\?`: "."} {
		quoted = strings.ReplaceAll(quoted, old, as)
	}
	return regexp.MustCompile("^" + quoted + "$") // every sign is quoted: none is malformed
}

// md5s hashes files on all cores.
func (s *system) md5s(files []packageFile) []string {
	out := make([]string, len(files))
	g, ctx := errgroup.WithContext(s.ctx)
	g.SetLimit(goruntime.GOMAXPROCS(0))
	for i, f := range files {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if out[i], err = s.md5(f.entry); err != nil {
				err = fmt.Errorf("reading /%s: %w", f.path, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil && s.err == nil {
		s.err = err
	}
	return out
}

func (s *system) md5(e tree.Entry) (string, error) {
	r, err := s.src.Open(e.Content)
	if err != nil {
		return "", err
	}
	h := md5.New()
	_, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), err
}
