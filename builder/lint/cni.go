package lint

import (
	"debug/buildinfo"
	"encoding/json"
	"path"
	"runtime/debug"
	"slices"

	"github.com/edgebake/edgebake/builder/tree"
)

// network is a CNI configuration: a list of plugins, or one plugin.
type network struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	IPAM       struct {
		Type string `json:"type"`
	} `json:"ipam"`
	Plugins []network `json:"plugins"`
}

// types are the programs that the configuration calls.
func (n network) types() []string {
	var out []string
	for _, t := range []string{n.Type, n.IPAM.Type} {
		if t != "" {
			out = append(out, t)
		}
	}
	for _, p := range n.Plugins {
		out = append(out, p.types()...)
	}
	return out
}

// checkCNI looks at the configuration that the runtime takes, the first one by name, and at the
// plugins that it names. loopback is called for every pod.
func checkCNI(s *system) []Finding {
	var found []Finding
	for _, r := range s.runtimes() {
		if r.broken == "" && !r.noCRI {
			found = append(found, s.checkNetworks(r)...)
		}
	}
	return dedupe(found)
}

func (s *system) checkNetworks(r runtime) []Finding {
	configs := s.networkFiles(r.cniConf)
	if len(configs) == 0 {
		f := caution("/"+r.cniConf, "add a configuration, or let a network add-on write it", "there is no CNI configuration for %s: pods stay without network until something writes one", r.name)
		if s.role == Edge {
			f.Severity = Error
		}
		return []Finding{f}
	}
	e := configs[0]
	text, _ := s.content(e)
	var n network
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return []Finding{fault("/"+e.Path, "correct the JSON", "%s cannot read its CNI configuration: %v", r.name, err)}
	}
	if len(n.types()) == 0 {
		return []Finding{fault("/"+e.Path, "name the plugins", "the CNI configuration names no plugin")}
	}
	var found []Finding
	for _, t := range append(n.types(), "loopback") {
		found = append(found, s.checkPlugin(r, e, t)...)
	}
	return append(found, s.checkSpoken(r, e, n)...)
}

// networkFiles are the configurations of a directory in the order of their names.
func (s *system) networkFiles(dir string) []tree.Entry {
	var out []tree.Entry
	for _, e := range s.list(dir) {
		if f, ok := s.file(e.Path); ok && slices.Contains([]string{".conf", ".conflist", ".json"}, path.Ext(e.Path)) {
			f.Path = e.Path
			out = append(out, f)
		}
	}
	return out
}

// plugin finds the program of a plugin where the runtime would.
func (s *system) plugin(r runtime, name string) (tree.Entry, bool) {
	for _, dir := range r.cniBins {
		if e, ok := s.file(dir + "/" + name); ok {
			return e, true
		}
	}
	return tree.Entry{}, false
}

func (s *system) checkPlugin(r runtime, config tree.Entry, name string) []Finding {
	e, ok := s.plugin(r, name)
	switch {
	case !ok:
		return []Finding{fault("/"+r.cniBins[0]+"/"+name, "add component cni to the profile, or correct "+path.Base(config.Path), "/%s calls the network plugin %s, which is not there", config.Path, name)}
	case e.Mode&0o111 == 0:
		return []Finding{fault("/"+e.Path, "make it executable", "the network plugin has mode %04o", e.Mode)}
	}
	return nil
}

// checkSpoken compares the version that the configuration says with what its plugins speak.
func (s *system) checkSpoken(r runtime, config tree.Entry, n network) []Finding {
	for _, t := range n.types() {
		e, ok := s.plugin(r, t)
		if !ok {
			continue // another finding
		}
		if spoken := s.spoken(e); spoken != "" && older(spoken, n.CNIVersion) {
			return []Finding{fault("/"+config.Path, "write cniVersion "+spoken, "it says cniVersion %s, but /%s speaks up to %s", n.CNIVersion, e.Path, spoken)}
		}
	}
	return nil
}

// spoken is the highest version of CNI that a plugin knows, as the library says that it was built
// with; or that of its package's release. It is "" when neither is known.
func (s *system) spoken(e tree.Entry) string {
	if at, err := s.readerAt(e); err == nil {
		if info, err := buildinfo.Read(at); err == nil && spokenByLibrary(info.Deps) != "" {
			return spokenByLibrary(info.Deps)
		}
	}
	switch v := s.version("containernetworking-plugins", "kubernetes-cni"); {
	case v == "":
		return ""
	case older(v, "1.0"):
		return "0.4.0"
	}
	return "1.0.0"
}

// spokenByLibrary knows the releases of github.com/containernetworking/cni and of the specification.
func spokenByLibrary(deps []*debug.Module) string {
	for _, d := range deps {
		if d.Path != "github.com/containernetworking/cni" {
			continue
		}
		switch {
		case older(d.Version, "0.7"):
			return "0.3.1"
		case older(d.Version, "1.0"):
			return "0.4.0"
		case older(d.Version, "1.2"):
			return "1.0.0"
		}
		return "1.1.0"
	}
	return ""
}
