package profile

import (
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// componentPatterns are made once for each validation.
type componentPatterns struct {
	sha256, sha512, mode, owner, id, release, tag, image *regexp.Regexp
}

func newComponentPatterns() componentPatterns {
	c := regexp.MustCompile
	return componentPatterns{
		sha256:  c(`^[0-9a-f]{64}$`),
		sha512:  c(`^[0-9a-f]{128}$`),
		mode:    c(`^0?[0-7]{3}$`),
		owner:   c(`^(root|[0-9]{1,9})(:(root|[0-9]{1,9}))?$`),
		id:      c(`^(root|[0-9]{1,9})$`),
		release: c(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`),
		tag:     c(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`),
		// The distribution specification's names, with a registry in front.
		image: c(`^[a-zA-Z0-9.-]+(:[0-9]+)?/[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`),
	}
}

// components checks what the profile's list has; arch is the image's.
func (v *validator) components(p Profile, re patterns) {
	components := p.Components
	seen := map[string]bool{}
	once := map[string]string{}
	own := newComponentPatterns()
	for i, c := range components {
		where := at("components", i)
		v.match(where+".name", c.Name, re.name, "lower-case letters, digits, dots and hyphens")
		if seen[c.Name] {
			v.add(where+".name", "a component called %s is already there", c.Name)
		}
		seen[c.Name] = true
		kinds := c.kinds()
		switch {
		case len(kinds) == 0:
			v.add(where, "needs a kind: %s", knownKinds())
			continue
		case len(kinds) > 1:
			v.add(where, "has %d kinds (%s); make one component of each", len(kinds), strings.Join(kinds, ", "))
		}
		v.onlyOnce(where, kinds[0], c.Name, once)
		v.component(where, c, p.Arch, re, own)
		v.crioPackages(where+".crio", c.CRIO, p.Packages)
	}
	v.runtimes(components)
}

// onlyOnce refuses a second component of a kind that writes files of fixed names.
func (v *validator) onlyOnce(where, kind, name string, seen map[string]string) {
	switch kind {
	case "kubeedge", "crio", "containerd", "kubernetes":
		if other, ok := seen[kind]; ok {
			v.add(where+"."+kind, "component %s is a %s already; an image has room for one", other, kind)
		}
		seen[kind] = name
	}
}

func (v *validator) component(where string, c Component, arch string, re patterns, own componentPatterns) {
	if c.GoModule != nil {
		v.goModule(where+".goModule", *c.GoModule, re)
	}
	if c.Tarball != nil {
		v.tarball(where+".tarball", *c.Tarball, own)
	}
	if c.Files != nil {
		v.files(where+".files", *c.Files, own)
	}
	if c.Debs != nil {
		v.debs(where+".debs.files", c.Debs.Files)
	}
	if c.CNI != nil {
		v.cni(where+".cni", *c.CNI, re, own)
	}
	if c.ContainerImages != nil {
		v.containerImages(where+".containerImages", *c.ContainerImages, own)
	}
	if c.KubeEdge != nil {
		v.kubeEdge(where+".kubeedge", *c.KubeEdge, own)
	}
	if c.CRIO != nil {
		v.crio(where+".crio", *c.CRIO, own)
		v.crioBundle(where+".crio", *c.CRIO, arch)
	}
	if c.Containerd != nil {
		v.containerd(where+".containerd", *c.Containerd, own)
	}
	if c.Kubernetes != nil {
		v.kubernetes(where+".kubernetes", *c.Kubernetes, own)
	}
}

func (v *validator) goModule(where string, m GoModule, re patterns) {
	v.match(where+".sum", m.Sum, re.sum, "a module's sum is h1: and 44 base64 characters, as in go.sum")
	v.absolute(where+".destination", m.Destination)
	if m.Version != "" && !strings.HasPrefix(m.Version, "v") {
		v.add(where+".version", "%q does not start with v; locks need an exact version, such as v0.8.7", m.Version)
	}
}

func (v *validator) tarball(where string, t Tarball, own componentPatterns) {
	v.download(where, Download{URLs: t.URLs, SHA256: t.SHA256, SHA512: t.SHA512, Sums: t.Sums}, own)
	for i, u := range t.URLs {
		if strings.HasSuffix(u, ".zip") {
			v.add(at(where+".urls", i), "zip is not supported; .tar, .tar.gz, .tar.xz and .tar.zst are")
		}
	}
	if t.Strip < 0 {
		v.add(where+".strip", "is %d; it counts directories", t.Strip)
	}
	for i, p := range t.Pick {
		if _, err := path.Match(p, "x"); err != nil {
			v.add(at(where+".pick", i), "%q is no pattern: %v", p, err)
		}
		if strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") {
			v.add(at(where+".pick", i), "%q must be a name inside of the archive", p)
		}
	}
	v.absolute(where+".destination", t.Destination)
	v.match(where+".owner", t.Owner, own.owner, "USER:GROUP in numbers, or root")
	v.match(where+".mode", t.Mode, own.mode, `three octal digits, as "0755"; set-id bits are refused`)
}

func (v *validator) download(where string, d Download, own componentPatterns) {
	if len(d.URLs) == 0 {
		v.missing(where+".urls", "name at least one")
	}
	for i, u := range d.URLs {
		v.address(at(where+".urls", i), u)
	}
	if d.Sums != "" {
		v.address(where+".sums", d.Sums)
	}
	v.match(where+".sha256", d.SHA256, own.sha256, "64 lower-case hexadecimal digits")
	v.match(where+".sha512", d.SHA512, own.sha512, "128 lower-case hexadecimal digits")
}

func (v *validator) address(where, u string) {
	for _, scheme := range []string{"http://", "https://", "file:///"} {
		if strings.HasPrefix(u, scheme) {
			return
		}
	}
	v.add(where, "%q must start with http://, https:// or file:///", u)
}

func (v *validator) files(where string, f Files, own componentPatterns) {
	seen := map[string]bool{}
	for i, file := range f.Files {
		p := at(where+".files", i)
		v.absolute(p+".path", file.Path)
		if strings.HasSuffix(file.Path, "/") {
			v.add(p+".path", "%q is a directory; a file needs a name", file.Path)
		}
		if file.Path != "" && seen[path.Clean(file.Path)] {
			v.add(p+".path", "%s is already there", file.Path)
		}
		seen[path.Clean(file.Path)] = true
		if file.Content != "" && file.Source != "" {
			v.add(p, "has content and source; a file has one of them")
		}
		if strings.Contains(file.Content, "PRIVATE KEY-----") {
			v.add(p+".content", "is a private key; one image serves every node, so secrets belong into the seed")
		}
		v.match(p+".owner", file.Owner, own.id, "a number or root")
		v.match(p+".group", file.Group, own.id, "a number or root")
		v.match(p+".mode", file.Mode, own.mode, `three octal digits, as "0600"; set-id bits are refused`)
	}
}

func (v *validator) debs(where string, files []string) {
	if len(files) == 0 {
		v.missing(where, "name at least one .deb")
	}
	seen := map[string]bool{}
	for i, f := range files {
		if !strings.HasSuffix(f, ".deb") {
			v.add(at(where, i), "%q is no .deb", f)
		}
		if seen[f] {
			v.add(at(where, i), "%s is already there", f)
		}
		seen[f] = true
	}
}

// CNIKnown is the version of the network plugins whose hashes are known.
const CNIKnown = "v0.8.7"

func (v *validator) cni(where string, c CNI, re patterns, own componentPatterns) {
	v.match(where+".version", c.Version, own.tag, "an exact version, such as "+CNIKnown)
	v.absolute(where+".destination", c.Destination)
	if c.FromModule() {
		v.match(where+".sum", c.Sum, re.sum, "a module's sum is h1: and 44 base64 characters, as in go.sum")
		if len(c.URLs) > 0 {
			v.add(where+".urls", "belong to source tarball, and the source is goModule")
		}
	} else {
		v.match(where+".sum", c.Sum, own.sha256, "the tarball's SHA-256, 64 lower-case hexadecimal digits")
	}
	if c.Version != CNIKnown && c.Sum == "" {
		v.missing(where+".sum", "only "+CNIKnown+" is known by its hashes")
	}
	for i, u := range c.URLs {
		v.address(at(where+".urls", i), u)
	}
}

func (v *validator) containerImages(where string, c ContainerImages, own componentPatterns) {
	if len(c.Images) == 0 {
		v.missing(where+".images", "name at least one")
	}
	v.images(where+".images", c.Images, own)
	switch {
	case c.From() == "registry" && c.Path != "":
		v.add(where+".path", "belongs to source layout or archive, and the source is registry")
	case c.From() != "registry" && c.Path == "":
		v.missing(where+".path", "where the "+c.From()+" is")
	}
}

func (v *validator) images(where string, images []string, own componentPatterns) {
	seen := map[string]bool{}
	for i, image := range images {
		v.match(at(where, i), image, own.image, "registry/repository:tag in full, as docker.io/library/busybox:1.36")
		if !strings.Contains(path.Base(image), ":") && image != "" {
			v.add(at(where, i), "%q has neither a tag nor a digest; latest is nothing to rely on", image)
		}
		if seen[image] {
			v.add(at(where, i), "%s is already there", image)
		}
		seen[image] = true
	}
}

func (v *validator) kubeEdge(where string, k KubeEdge, own componentPatterns) {
	v.match(where+".version", k.Version, own.release, "a version without v, such as 1.8.2: keadm takes it so")
	if k.Version != "" && !strings.HasPrefix(k.Version, "1.8.") && !strings.HasPrefix(k.Version, "v") {
		v.add(where+".version", "%s is not known: what keadm downloads is known for 1.8", k.Version)
	}
	for i, u := range k.Releases {
		v.address(at(where+".releases", i), u)
	}
	for i, u := range k.Sources {
		v.address(at(where+".sources", i), u)
	}
}

// CRI-O before 1.18 is too old for CRI v1alpha2 as edgecore speaks it; 1.26 removed it.
const minCRIO, maxCRIO = 18, 25

func (v *validator) crio(where string, c CRIO, own componentPatterns) {
	v.match(where+".version", c.Version, own.release, "an exact version, such as 1.20.0")
	if minor, ok := minorOf(c.Version); ok && (minor < minCRIO || minor > maxCRIO) {
		v.add(where+".version", "%s is refused: edgecore speaks CRI v1alpha2, which CRI-O 1.%d to 1.%d have", c.Version, minCRIO, maxCRIO)
	}
	switch {
	case c.Source != "bundle" && c.Bundle != nil:
		v.add(where+".bundle", "belongs to source bundle, and the source is %s", c.Source)
	case c.Bundle != nil:
		v.download(where+".bundle", *c.Bundle, own)
	}
	switch {
	case c.Source == "debs":
		v.debs(where+".debs", c.Debs)
	case len(c.Debs) > 0:
		v.add(where+".debs", "belong to source debs, and the source is %s", c.Source)
	}
	v.absolute(where+".runtimePath", c.RuntimePath)
	v.match(where+".pauseImage", c.PauseImage, own.image, "registry/repository:tag in full, as registry.k8s.io/pause:3.2")
	v.subnet(where, c)
}

// crioBundle knows what upstream's static releases have, and for which architecture.
func (v *validator) crioBundle(where string, c CRIO, arch string) {
	if c.Source != "bundle" {
		return
	}
	if arch == "arm64" && c.Runtime == "runc" && c.RuntimePath == "" {
		v.add(where+".runtime", "the arm64 bundle has crun and no runc; take crun, or say where runc is (runtimePath)")
	}
	minor, ok := minorOf(c.Version)
	patch, err := strconv.Atoi(c.Version[strings.LastIndex(c.Version, ".")+1:])
	if c.Bundle != nil || arch != "arm64" || !ok || err != nil {
		return
	}
	if minor < 19 || minor == 19 && patch < 6 || minor == 20 && patch < 3 {
		v.add(where+".version", "upstream has no arm64 bundle of %s; the first ones are 1.19.6 and 1.20.3, or name your own under bundle", c.Version)
	}
}

// crioPackages knows that the package cri-o depends on no runtime.
func (v *validator) crioPackages(where string, c *CRIO, packages []string) {
	if c == nil || c.Source != "apt" {
		return
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(packages, func(p string) bool {
			name := p[:min(len(p), strings.IndexAny(p+"=", "=/:"))]
			return slices.Contains(names, name)
		})
	}
	if !has("cri-o") && !v.partial {
		v.add(where+".source", "apt needs the package cri-o under packages")
	}
	if c.RuntimePath == "" && !has("cri-o-runc", "runc", "crun") {
		v.missing(where+".runtime", "the package cri-o brings none: add cri-o-runc, runc or crun to packages")
	}
}

func (v *validator) subnet(where string, c CRIO) {
	if c.Subnet == "" {
		return
	}
	if c.Network() == "none" {
		v.add(where+".subnet", "belongs to cniConfig bridge, and that is none")
	}
	if p, err := netip.ParsePrefix(c.Subnet); err != nil || p.Masked() != p {
		v.add(where+".subnet", "%q is no network, such as 10.85.0.0/16", c.Subnet)
	}
}

// minorOf is the second number of 1.20.0 or v1.20.0, when the first is 1.
func minorOf(version string) (int, bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(version, "v"), "1.")
	if !ok {
		return 0, false
	}
	text, _, _ := strings.Cut(rest, ".")
	minor, err := strconv.Atoi(text)
	return minor, err == nil
}

func (v *validator) containerd(where string, c Containerd, own componentPatterns) {
	v.match(where+".sandboxImage", c.SandboxImage, own.image, "registry/repository:tag in full, as registry.k8s.io/pause:3.6")
	v.absolute(where+".runtime", c.Runtime)
	v.absolute(where+".socket", c.Socket)
	v.absolute(where+".cniBinaries", c.CNIBinaries)
}

// maxKubernetes is the last minor version with apiextensions v1beta1, which keadm init 1.8 needs.
const maxKubernetes = 21

func (v *validator) kubernetes(where string, k Kubernetes, own componentPatterns) {
	v.match(where+".version", k.Version, own.tag, "an exact version, such as v1.20.5")
	if minor, ok := minorOf(k.Version); ok && k.Role == "master" && minor > maxKubernetes {
		v.add(where+".version", "%s is refused: keadm init of KubeEdge 1.8 creates apiextensions v1beta1 definitions, which v1.22 removed", k.Version)
	}
	v.images(where+".imageList", k.ImageList, own)
	if k.Preload() && k.Version != "" && k.RoleImages() == nil {
		v.add(where+".imageList", "is missing: the images of %s are not known (kubeadm config images list), or say images: pull", k.Version)
	}
	for i, u := range k.Binaries {
		v.address(at(where+".binaries", i), u)
	}
}

// runtimes refuses container images for a runtime that the profile plainly does not have.
func (v *validator) runtimes(components []Component) {
	has := map[string]bool{}
	for _, c := range components {
		has["crio"] = has["crio"] || c.CRIO != nil
		has["containerd"] = has["containerd"] || c.Containerd != nil
	}
	if !has["crio"] && !has["containerd"] {
		return // packages and overlays bring it
	}
	for i, c := range components {
		if c.ContainerImages != nil && !has[c.ContainerImages.For()] {
			v.add(at("components", i)+".containerImages.runtime", "is %s, and no component is one", c.ContainerImages.For())
		}
		if c.Kubernetes != nil && !has[c.Kubernetes.For()] {
			v.add(at("components", i)+".kubernetes.runtime", "is %s, and no component is one", c.Kubernetes.For())
		}
	}
}
