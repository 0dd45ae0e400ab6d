package lint

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"path"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/edgebake/edgebake/builder/tree"
)

const (
	infoDir = "var/lib/dpkg/info"
	// maxList bounds one file of dpkg's database; those of kernel headers have about 2 MB.
	maxList = 16 << 20
)

// packageFile is a file, link or directory as dpkg's database describes it.
type packageFile struct {
	owner, path string
	md5         string // "" for what dpkg knows the name of alone
	entry       tree.Entry
}

// checkPackageFiles compares dpkg's database with what is there, as dpkg --verify does. A profile may replace a
// package's file on purpose, but the next upgrade of the package undoes that: so it is a warning, not an error.
func checkPackageFiles(s *system) []Finding {
	var missing, changed []Finding
	excluded := s.pathExcludes()
	for files := range s.packageFiles() {
		m, c := s.comparePackage(files, excluded)
		missing, changed = append(missing, m...), append(changed, c...)
	}
	return append(missing, changed...)
}

// comparePackage compares the files of one package.
func (s *system) comparePackage(files []packageFile, excluded func(name string) bool) (missing, changed []Finding) {
	var there []packageFile
	for _, f := range files {
		e, err := s.root.Lookup(f.path)
		if err == nil && e.Type == tree.Symlink && f.md5 != "" {
			e, err = s.root.Resolve(f.path)
		}
		switch {
		case err != nil && !excluded("/"+f.path):
			missing = append(missing, caution("/"+f.path, "install "+f.owner+" again, or leave it out", "it belongs to the package %s, and is not there", f.owner))
		case err == nil && f.md5 != "" && e.Type == tree.File:
			f.entry = e
			there = append(there, f)
		}
	}
	for i, sum := range s.md5s(there) {
		if f := there[i]; sum != f.md5 {
			changed = append(changed, caution("/"+f.path, "put the change where upgrades leave it: below /etc or /usr/local, in a drop-in, or in a diversion",
				"its MD5 is %s, and %s of the package %s", sum, f.md5, f.owner))
		}
	}
	return missing, changed
}

// atBoot are directories over which the running system mounts others: it is no matter what the image has there.
var atBoot = []string{"dev", "proc", "run", "sys", "tmp"}

// packageFiles yields the names in dpkg's lists, where diversions have put them, one package after the other: those of all
// at once would take more memory than the rest of a bake. Configuration files have no MD5 here: they
// may be changed. Those that their package has given up may be gone, too.
func (s *system) packageFiles() iter.Seq[[]packageFile] {
	return func(yield func([]packageFile) bool) {
		obsolete, diverted := s.conffiles(), s.diversions()
		for _, e := range s.list(infoDir) {
			name, ok := strings.CutSuffix(path.Base(e.Path), ".list")
			if ok && !yield(s.filesOf(name, obsolete, diverted)) {
				return
			}
		}
	}
}

// filesOf are the files of one package, whose name is that of its files in dpkg's info directory.
func (s *system) filesOf(name string, obsolete map[string]bool, diverted map[string]diversion) (out []packageFile) {
	owner, _, _ := strings.Cut(name, ":")
	sums := s.packageSums(name)
	for line := range strings.Lines(s.database(infoDir + "/" + name + ".list")) {
		f := packageFile{owner: owner, path: strings.Trim(line, "/\n")}
		gone, conffile := obsolete[f.path]
		top, _, below := strings.Cut(f.path, "/")
		if gone || below && slices.Contains(atBoot, top) {
			continue
		}
		if !conffile {
			f.md5 = sums[f.path]
		}
		if to, ok := diverted[f.path]; ok && to.by != owner {
			f.path = to.name
		}
		out = append(out, f)
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

// packageSums are the MD5s of a package's files. Some are of files that another package has taken over: those are no longer
// in the package's list.
func (s *system) packageSums(name string) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(s.database(infoDir + "/" + name + ".md5sums")) {
		if sum, file, ok := strings.Cut(strings.TrimRight(line, "\n"), "  "); ok {
			sums[strings.TrimPrefix(file, "./")] = sum
		}
	}
	return sums
}

// conffiles are the configuration files of all packages: lines " /etc/x MD5" of their stanzas' fields Conffiles. The value
// says whether the package has given the file up (" /etc/x MD5 obsolete").
func (s *system) conffiles() map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(s.database(statusFile)) {
		if name, ok := strings.CutPrefix(line, " /"); ok {
			name, rest, _ := strings.Cut(strings.TrimRight(name, "\n"), " ")
			names[name] = strings.HasSuffix(rest, " obsolete")
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
			out[strings.TrimPrefix(lines[0], "/")] = diversion{lines[1][1:], lines[2]}
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
