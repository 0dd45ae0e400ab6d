package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/profile"
)

// documents are the texts for users.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, path := range append(docs, "../../README.md", "../../CONTRIBUTING.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(path)] = string(text)
	}
	return texts
}

// TestDocumentedCommands finds every edgebake command in the documents and in the help, and lets the program
// parse it: command, flags and number of arguments exist.
func TestDocumentedCommands(t *testing.T) {
	texts := documents(t)
	for _, cmd := range commands(&environment{}) {
		texts["help of "+cmd.Name()] = cmd.Long
	}
	found := 0
	for name, text := range texts {
		for _, line := range documented(text) {
			found++
			if err := parse(line); err != nil {
				t.Errorf("%s: edgebake %s: %v", name, line, err)
			}
		}
	}
	if found < 60 {
		t.Errorf("found %d commands: is this test looking in the right place?", found)
	}
}

// documented are the arguments of commands in fences, in indented lines and in inline code.
func documented(text string) []string {
	inline := regexp.MustCompile("`(?:sudo )?edgebake ([^`]+)`")
	block := regexp.MustCompile(`(?:^|&& )(?:sudo )?edgebake ([^#|>;&]+)`)
	var out []string
	fenced := false
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		found := inline.FindAllStringSubmatch(line, -1)
		if fenced || strings.HasPrefix(line, "  ") {
			found = append(found, block.FindAllStringSubmatch(strings.TrimSpace(line), -1)...)
		}
		for _, m := range found {
			out = append(out, strings.Join(strings.Fields(m[1]), " "))
		}
	}
	return out
}

func parse(line string) error {
	root := newRoot(&environment{stdout: &bytes.Buffer{}})
	cmd, args, err := root.Find(strings.Fields(line))
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(args); err != nil {
		return err
	}
	// What is only named, "edgebake doctor" in a sentence, may lack its arguments.
	if args := cmd.Flags().Args(); len(args) > 0 || cmd.Args == nil {
		return validArgs(cmd, args)
	}
	return nil
}

func validArgs(cmd *cobra.Command, args []string) error {
	if cmd.Args == nil {
		return nil
	}
	return cmd.Args(cmd, args)
}

func TestDocumentedCommandsFindsFaults(t *testing.T) {
	for _, line := range []string{"bake x --no-such-flag", "gc extra", "frobnicate --x", "diff one"} {
		if parse(line) == nil {
			t.Errorf("edgebake %s is taken for a command", line)
		}
	}
	got := documented("text `edgebake lock PROFILE` and\n  edgebake gc --verify # comment\n```\nedgebake diff a \\\n  b | less\n```\nedgebake makes images.\n")
	if want := "lock PROFILE,gc --verify,diff a b"; strings.Join(got, ",") != want {
		t.Errorf("found %q, want %s", got, want)
	}
}

// TestDocumentedProfiles loads every profile and overlay of docs/profiles.md.
func TestDocumentedProfiles(t *testing.T) {
	text := documents(t)["profiles.md"]
	dir := t.TempDir()
	files := map[string]string{"hall/etc/motd": "Hall 3\n", "hall/etc/wireguard/README": "keys come with the seed\n"}
	for _, m := range regexp.MustCompile("(?s)`([a-z.]+)`\n```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
		files[m[1]] = m[2]
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := profile.Load(t.Context(), profile.Options{Name: filepath.Join(dir, "gateway.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	if l.Profile.Disk.Size != 6<<30 || len(l.Overlays) == 0 {
		t.Errorf("the profile has %v and %d overlays", l.Profile.Disk.Size, len(l.Overlays))
	}
}

// TestReadingTable looks for the packages and files that the README says to read.
func TestReadingTable(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| [^|]+ \\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(documents(t)["README.md"], -1)
	if len(rows) < 15 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	for _, row := range rows {
		for _, file := range strings.Split(row[2], ", ") {
			if _, err := os.Stat(filepath.Join("../..", row[1], strings.Trim(file, "`"))); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestLinks follows the links between the documents.
func TestLinks(t *testing.T) {
	for name, text := range documents(t) {
		dir := "../../docs"
		if strings.ToUpper(name[:4]) == name[:4] {
			dir = "../.."
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	}
}
