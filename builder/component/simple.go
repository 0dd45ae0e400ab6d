package component

import (
	"fmt"
	"path"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/tree"
)

func tarballRecipe(t profile.Tarball) recipe {
	const name = "archive"
	p := placement{strip: t.Strip, pick: t.Pick, destination: t.Destination, mode: -1}
	user, group, ok := strings.Cut(t.Owner, ":")
	if !ok {
		group = user
	}
	p.uid, p.gid = number(user), number(group)
	if t.Mode != "" {
		p.mode = int64(octal(t.Mode, 0o755))
	}
	d := asDownload(name, profile.Download{URLs: t.URLs, SHA256: t.SHA256, SHA512: t.SHA512, Sums: t.Sums})
	return recipe{files: []download{d}, lay: func(s *site) error { return s.archive(name, p) }}
}

func filesRecipe(f profile.Files, at string) recipe {
	var r recipe
	for i, file := range f.Files {
		if file.Source != "" {
			r.files = append(r.files, download{name: file.Path, source: file.Source, at: fmt.Sprintf("%s[%d].source", at, i)})
		}
	}
	r.lay = func(s *site) error {
		for _, file := range f.Files {
			if err := s.profileFile(file); err != nil {
				return err
			}
		}
		return nil
	}
	return r
}

func (s *site) profileFile(f profile.ComponentFile) error {
	e := tree.Entry{Path: inTree(f.Path), Type: tree.File, Mode: octal(f.Mode, 0o644), UID: number(f.Owner), GID: number(f.Group)}
	e.Content = tree.InlineContent([]byte(f.Content))
	if f.Source != "" {
		pin, err := s.file(f.Path)
		if err != nil {
			return err
		}
		e.Content = tree.BlobContent(pin.SHA256, 0, pin.Size)
	}
	s.add(e)
	return nil
}

func debFiles(files []string, at string) []download {
	var out []download
	for i, f := range files {
		out = append(out, download{name: path.Base(f), source: f, at: fmt.Sprintf("%s[%d]", at, i)})
	}
	return out
}

// cniHashes are the SHA-256 of the release tarballs of profile.CNIKnown
// (Kubernetes' build files, kops and Arch Linux agree).
func cniHashes(arch string) cas.Digest {
	return map[string]cas.Digest{
		"amd64": "977824932d5667c7a37aa6a3cbba40100a6873e7bd97e83e8be837e3e7afd0a8",
		"arm64": "ae13d7b5c05bd180ea9b5b68f44bdaa7bfb41034a2ef1d68fd8e1259797d642f",
	}[arch]
}

const (
	cniModule = "github.com/containernetworking/plugins"
	cniSum    = "h1:bU7QieuAp+sACI2vCzESJ3FoT860urYP+lThyZkb/2M="
)

func cniRecipe(c profile.CNI, arch string) recipe {
	if c.FromModule() {
		m := profile.GoModule{Module: cniModule, Version: c.Version, Sum: c.Sum, Packages: []string{"plugins/..."},
			LDFlags:     "-X " + cniModule + "/pkg/utils/buildversion.BuildVersion=" + c.Version,
			Destination: c.Dir(), Exclude: []string{"sample"}}
		if m.Sum == "" {
			m.Sum = cniSum
		}
		return recipe{module: &m}
	}
	name := "cni-plugins-linux-" + arch + "-" + c.Version + ".tgz"
	d := download{name: name, urls: c.URLs, sha256: cas.Digest(c.Sum)}
	if d.sha256 == "" && c.Version == profile.CNIKnown {
		d.sha256 = cniHashes(arch)
	}
	if len(d.urls) == 0 {
		d.urls = []string{
			"https://github.com/containernetworking/plugins/releases/download/" + c.Version + "/" + name,
			"https://storage.googleapis.com/k8s-artifacts-cni/release/" + c.Version + "/" + name,
		}
	}
	return recipe{version: c.Version, files: []download{d}, lay: func(s *site) error {
		return s.archive(name, placement{destination: c.Dir(), mode: 0o755})
	}}
}
