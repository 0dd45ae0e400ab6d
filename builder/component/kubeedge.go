package component

import (
	"fmt"
	"strings"

	"github.com/edgebake/edgebake/builder/profile"
)

// goldenDir has what the first boot copies to /etc/kubeedge before each keadm: keadm reset empties
// that directory. Below it, names are as keadm looks for them in /etc/kubeedge.
const goldenDir = "/usr/lib/edgebake/kubeedge"

// keadmUnits are the units that keadm would download (build/tools in KubeEdge's sources).
func keadmUnits() []string { return []string{"edgecore.service", "cloudcore.service"} }

// keadmDefinitions are the custom resource definitions of KubeEdge 1.8 that keadm init creates
// (build/crds in its sources, the same below /etc/kubeedge/crds).
func keadmDefinitions() []string {
	return []string{
		"devices/devices_v1alpha2_device.yaml",
		"devices/devices_v1alpha2_devicemodel.yaml",
		"reliablesyncs/cluster_objectsync_v1alpha1.yaml",
		"reliablesyncs/objectsync_v1alpha1.yaml",
		"router/router_v1_rule.yaml",
		"router/router_v1_ruleEndpoint.yaml",
	}
}

// keadmNames are the release's archives for an architecture.
func keadmNames(version, arch string) (keadm, kubeedge string) {
	end := "-v" + version + "-linux-" + arch + ".tar.gz"
	return "keadm" + end, "kubeedge" + end
}

func kubeEdgeRecipe(k profile.KubeEdge, arch string) recipe {
	releases, sources := k.Releases, k.Sources
	if len(releases) == 0 {
		releases = []string{"https://github.com/kubeedge/kubeedge/releases/download/v" + k.Version}
	}
	if len(sources) == 0 {
		// keadm itself takes the branch, which may change; the tag is the release.
		branch := k.Version[:strings.LastIndex(k.Version, ".")]
		sources = []string{"https://raw.githubusercontent.com/kubeedge/kubeedge/v" + k.Version,
			"https://raw.githubusercontent.com/kubeedge/kubeedge/release-" + branch}
	}
	keadm, kubeedge := keadmNames(k.Version, arch)
	r := recipe{version: k.Version, advice: "name a copy of the release (releases:), of the sources (sources:), or a mirror (--mirror)",
		lay: func(s *site) error { return s.kubeEdge(keadm, kubeedge) }}
	for _, name := range []string{keadm, kubeedge} {
		r.files = append(r.files, download{name: name, urls: below(releases, name), sums: below(releases, "checksum_"+name+".txt")})
	}
	for _, unit := range keadmUnits() {
		r.files = append(r.files, download{name: unit, urls: below(sources, "build/tools/"+unit)})
	}
	for _, crd := range keadmDefinitions() {
		r.files = append(r.files, download{name: "crds/" + crd, urls: below(sources, "build/crds/"+crd)})
	}
	return r
}

// below are the URLs of a name in several directories.
func below(dirs []string, name string) []string {
	var out []string
	for _, d := range dirs {
		out = append(out, strings.TrimSuffix(d, "/")+"/"+name)
	}
	return out
}

func (s *site) kubeEdge(keadm, kubeedge string) error {
	top := strings.TrimSuffix(keadm, ".tar.gz")
	if err := s.archive(keadm, placement{strip: 2, pick: []string{"keadm"}, destination: "/usr/bin", mode: 0o755}); err != nil {
		return fmt.Errorf("%w; %s/keadm/keadm is what it should have", err, top)
	}
	files := append([]string{kubeedge}, keadmUnits()...)
	for _, crd := range keadmDefinitions() {
		files = append(files, "crds/"+crd)
	}
	for _, name := range files {
		if err := s.copy(goldenDir+"/"+name, 0o644, name); err != nil {
			return err
		}
	}
	pin, err := s.file(kubeedge)
	if err != nil {
		return err
	}
	// keadm compares the whole text: the digits alone, no file name.
	digits, err := sum512(s.store, pin.SHA256)
	if err != nil {
		return err
	}
	s.text(goldenDir+"/checksum_"+kubeedge+".txt", 0o644, digits+"\n")
	return nil
}
