package lint

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/tree"
)

// datasources is what the files of cloud-init say about where to look.
type datasources struct {
	list    []string
	path    string // of the file that says it
	lines   bool   // it is written over several lines
	label   string // of NoCloud's file system; "" for none at all
	labelIn string // the file that says so
}

const (
	cloudConfig  = "etc/cloud/cloud.cfg"
	cloudDropIns = "etc/cloud/cloud.cfg.d"
	seedDir      = "var/lib/cloud/seed/nocloud"
)

// checkCloudInit looks for the seed where the list of datasources would.
func checkCloudInit(s *system) []Finding {
	if !s.exists(cloudConfig) {
		return nil
	}
	if s.exists("etc/cloud/cloud-init.disabled") {
		return []Finding{caution("/etc/cloud/cloud-init.disabled", "remove it", "cloud-init is disabled: no seed is read")}
	}
	d, found := s.datasources()
	if d.lines {
		found = append(found, fault("/"+d.path, "write datasource_list on one line", "ds-identify reads datasource_list only when it is on one line"))
	}
	none := len(d.list) > 0 && !word(d.list, "NoCloud")
	for _, f := range s.seeds() {
		switch {
		case none:
			found = append(found, fault("/"+d.path, "add NoCloud to datasource_list", "the seed in %s is not read: the list is [%s]", f.path(""), strings.Join(d.list, ", ")))
		case !sameLabel(f.partition, d.label):
			found = append(found, fault(orDefault(d.labelIn, "/"+cloudDropIns), "write fs_label: "+f.partition.Label, "the seed lies on the file system %q, but NoCloud looks for %q", f.partition.Label, d.label))
		}
		found = append(found, s.checkSeed(f)...)
	}
	pinned := !none && len(slices.DeleteFunc(slices.Clone(d.list), func(n string) bool { return n == "None" })) == 1
	custom := d.labelIn != "" && d.label != "" && !s.exists(seedDir+"/user-data")
	if pinned && custom && !slices.ContainsFunc(s.partitions, func(p image.Partition) bool { return sameLabel(p, d.label) }) {
		found = append(found, fault(d.labelIn, "write the label of the partition with the seed", "NoCloud is the only datasource and looks for a file system %q, which the image does not have", d.label))
	}
	return found
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// sameLabel compares as NoCloud does: as it is written, in upper and in lower case.
func sameLabel(p image.Partition, label string) bool {
	return label != "" && slices.Contains([]string{label, strings.ToUpper(label), strings.ToLower(label)}, p.Label)
}

// seeds are the FATs with user-data.
func (s *system) seeds() []fatTree {
	var out []fatTree
	for _, f := range s.fats {
		if _, ok := f.tree.Lookup("user-data"); ok {
			out = append(out, f)
		}
	}
	return out
}

// checkSeed: NoCloud wants both files, and knows instance-id with a hyphen only.
func (s *system) checkSeed(f fatTree) []Finding {
	e, ok := f.tree.Lookup("meta-data")
	if !ok || e.Type != tree.File {
		return []Finding{fault(f.path("meta-data"), "add it, empty if there is nothing to say", "NoCloud takes user-data only with meta-data beside it")}
	}
	if text, _ := s.content(e); strings.Contains(text, "instance_id:") {
		return []Finding{caution(f.path("meta-data"), "write instance-id", "cloud-init does not know instance_id with an underscore: the id will be nocloud")}
	}
	return nil
}

// datasources reads cloud.cfg and its drop-ins; the last one to say something wins.
func (s *system) datasources() (datasources, []Finding) {
	d := datasources{label: "cidata"}
	var found []Finding
	for _, e := range s.drop(cloudConfig, cloudDropIns, ".cfg") {
		text, _ := s.content(e)
		var c struct {
			List   []string `yaml:"datasource_list"`
			Source map[string]struct {
				Label *string `yaml:"fs_label"`
			} `yaml:"datasource"`
		}
		if !strings.Contains(text, "datasource") {
			continue
		}
		if err := yaml.Unmarshal([]byte(jinja(text)), &c); err != nil {
			found = append(found, caution("/"+e.Path, "correct the YAML", "what it says about datasources cannot be read: %v", firstLine(err.Error())))
			continue
		}
		if c.List != nil {
			d.list, d.path, d.lines = c.List, e.Path, !oneLine(text)
		}
		if no, ok := c.Source["NoCloud"]; ok && (no.Label != nil || nullLabel(text)) {
			d.label, d.labelIn = "", "/"+e.Path
			if no.Label != nil {
				d.label = *no.Label
			}
		}
	}
	return d, found
}

// jinja drops the header of files that cloud-init renders first.
func jinja(text string) string { return strings.TrimPrefix(text, "## template: jinja\n") }

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func nullLabel(text string) bool {
	return strings.Contains(text, "fs_label: null") || strings.Contains(text, "fs_label: ~")
}

// oneLine reports whether datasource_list has its brackets on its own line, which is all that
// ds-identify's shell reads.
func oneLine(text string) bool {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "datasource_list:"); ok {
			return strings.Contains(rest, "[") && strings.Contains(rest, "]")
		}
	}
	return true // it is written in a way that nobody uses: say nothing
}
