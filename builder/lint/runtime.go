package lint

import (
	"debug/buildinfo"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/edgebake/edgebake/builder/tree"
)

// runtime is a container runtime with what matters of its configuration, defaults filled in.
type runtime struct {
	name    string // containerd or crio
	program string
	version string // "" when it is not known
	config  string // the file that has the last word, for findings
	driver  string // systemd or cgroupfs
	pause   string // image
	cniConf string
	cniBins []string
	noCRI   bool
	conmon  string // CRI-O's conmon_cgroup
	storage []string
	broken  string // why the configuration cannot be read
}

// settings are the tables of a TOML file.
type settings map[string]any

// at returns what is under a path of keys, or nil.
func (t settings) at(keys ...string) any {
	var v any = map[string]any(t)
	for _, k := range keys {
		table, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = table[k]
	}
	return v
}

func (t settings) text(otherwise string, keys ...string) string {
	if v, ok := t.at(keys...).(string); ok && v != "" {
		return v
	}
	return otherwise
}

func (t settings) list(keys ...string) []string {
	values, _ := t.at(keys...).([]any)
	var out []string
	for _, v := range values {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// merge lays over over t, table by table, as CRI-O lays its drop-ins.
func (t settings) merge(over map[string]any) {
	for k, v := range over {
		below, ok := t[k].(map[string]any)
		above, both := v.(map[string]any)
		if ok && both {
			settings(below).merge(above)
			continue
		}
		t[k] = v
	}
}

// runtimes are the container runtimes in the image.
func (s *system) runtimes() []runtime {
	var out []runtime
	if p := s.program("containerd"); p != "" {
		out = append(out, s.containerd(p))
	}
	if p := s.program("crio"); p != "" {
		out = append(out, s.crio(p))
	}
	return out
}

const containerdConfig = "etc/containerd/config.toml"

// containerd reads the settings of versions 2 (containerd 1.x) and 3 (2.x) of its configuration.
func (s *system) containerd(program string) runtime {
	r := runtime{name: "containerd", program: program, config: containerdConfig, version: s.version("containerd", "containerd.io"),
		driver: "cgroupfs", cniConf: "etc/cni/net.d", cniBins: []string{"opt/cni/bin"}}
	t := settings{}
	if text, ok := s.text(containerdConfig); ok {
		if _, err := toml.Decode(text, (*map[string]any)(&t)); err != nil {
			r.broken = err.Error()
		}
	}
	cri, images, sandbox := []string{"plugins", "io.containerd.grpc.v1.cri"}, []string{"plugins", "io.containerd.grpc.v1.cri"}, []string{"sandbox_image"}
	if version, _ := t.at("version").(int64); version >= 3 {
		cri, images, sandbox = []string{"plugins", "io.containerd.cri.v1.runtime"}, []string{"plugins", "io.containerd.cri.v1.images"}, []string{"pinned_images", "sandbox"}
	}
	under := func(keys ...string) []string { return slices.Concat(cri, keys) }
	name := t.text("runc", under("containerd", "default_runtime_name")...)
	if on, _ := t.at(under("containerd", "runtimes", name, "options", "SystemdCgroup")...).(bool); on {
		r.driver = "systemd"
	}
	r.pause = t.text(containerdPause(r.version), slices.Concat(images, sandbox)...)
	r.cniConf = relative(t.text("/etc/cni/net.d", under("cni", "conf_dir")...))
	r.cniBins = []string{relative(t.text("/opt/cni/bin", under("cni", "bin_dir")...))}
	if dirs := t.list(under("cni", "bin_dirs")...); len(dirs) > 0 {
		r.cniBins = relatives(dirs)
	}
	disabled := t.list("disabled_plugins")
	r.noCRI = word(disabled, "cri") || word(disabled, "io.containerd.grpc.v1.cri")
	return r
}

// containerdPause is the sandbox image that is compiled in, "" when the version is not known.
func containerdPause(version string) string {
	switch {
	case version == "":
		return ""
	case older(version, "1.5"):
		return "k8s.gcr.io/pause:3.2"
	case older(version, "1.6"):
		return "k8s.gcr.io/pause:3.5"
	case older(version, "1.7"):
		return "registry.k8s.io/pause:3.6"
	case older(version, "2.0"):
		return "registry.k8s.io/pause:3.8"
	}
	return "registry.k8s.io/pause:3.10"
}

const (
	crioConfig  = "etc/crio/crio.conf"
	crioDropIns = "etc/crio/crio.conf.d"
)

// crio lays the drop-ins over crio.conf in the order of their names.
func (s *system) crio(program string) runtime {
	r := runtime{name: "crio", program: program, config: crioConfig, version: s.version("cri-o")}
	if r.version == "" {
		r.version = s.builtAgainst(program)
	}
	t := settings{}
	for _, e := range s.drop(crioConfig, crioDropIns, ".conf") {
		text, _ := s.content(e)
		var over map[string]any
		if _, err := toml.Decode(text, &over); err != nil {
			r.broken, r.config = err.Error(), e.Path
			break
		}
		t.merge(over)
		if strings.Contains(text, "cgroup_manager") || strings.Contains(text, "pause_image") {
			r.config = e.Path
		}
	}
	r.driver = t.text("systemd", "crio", "runtime", "cgroup_manager")
	r.conmon = t.text("system.slice", "crio", "runtime", "conmon_cgroup")
	r.pause = t.text(crioPause(r.version), "crio", "image", "pause_image")
	r.storage = t.list("crio", "storage_option")
	r.cniConf = relative(t.text("/etc/cni/net.d", "crio", "network", "network_dir"))
	if r.cniBins = relatives(t.list("crio", "network", "plugin_dirs")); len(r.cniBins) == 0 {
		r.cniBins = []string{"opt/cni/bin"}
	}
	return r
}

// crioPause is the pause image that is compiled in, "" when the version is not known.
func crioPause(version string) string {
	switch {
	case version == "":
		return ""
	case older(version, "1.21"):
		return "k8s.gcr.io/pause:3.2"
	case older(version, "1.23"):
		return "k8s.gcr.io/pause:3.5"
	case older(version, "1.24"):
		return "k8s.gcr.io/pause:3.6"
	}
	return "registry.k8s.io/pause:3.6"
}

// builtAgainst is MAJOR.MINOR of a CRI-O that no package brought: the one of the Kubernetes whose
// CRI it was built with, which has the same number since 1.8. "" when the program does not say.
func (s *system) builtAgainst(program string) string {
	e, _ := s.file(program)
	at, err := s.readerAt(e)
	if err != nil {
		return ""
	}
	info, err := buildinfo.Read(at)
	if err != nil {
		return "" // no Go program: whoever made it knows
	}
	return criVersion(info.Deps)
}

func criVersion(deps []*debug.Module) string {
	for _, d := range deps {
		if d.Path != "k8s.io/cri-api" {
			continue
		}
		if d.Replace != nil {
			d = d.Replace
		}
		if minor, ok := strings.CutPrefix(d.Version, "v0."); ok {
			minor, _, _ = strings.Cut(minor, ".")
			return "1." + minor
		}
	}
	return ""
}

// drop returns a file and the files of its drop-in directory, in the order of their names.
func (s *system) drop(main, dir, extension string) []tree.Entry {
	var out []tree.Entry
	if e, ok := s.file(main); ok {
		out = append(out, e)
	}
	for _, e := range s.list(dir) {
		if e, ok := s.file(e.Path); ok && strings.HasSuffix(e.Path, extension) {
			out = append(out, e)
		}
	}
	return out
}

func relative(p string) string { return strings.TrimPrefix(path.Clean(p), "/") }

func relatives(paths []string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, relative(p))
	}
	return out
}

var digits = regexp.MustCompile(`\d+`)

// older compares the numbers of two versions.
func older(a, b string) bool {
	x, y := digits.FindAllString(a, 3), digits.FindAllString(b, 3)
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(x[i]) // digits; a number that is too large is as good as any
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m < n
		}
	}
	return len(x) < len(y)
}
