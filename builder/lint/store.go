package lint

import (
	"archive/tar"
	"encoding/json"
	"io"
	"path"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/edgebake/edgebake/builder/tree"
)

const (
	storageConf = "etc/containers/storage.conf"
	// imagesDir holds what components preload: stores for CRI-O, archives NAME.tar for containerd.
	imagesDir = "usr/lib/edgebake/images"
)

// checkPauseImage: without the pause image no pod starts; the registry of old releases is frozen,
// and an edge may be offline when it first starts.
func checkPauseImage(s *system) []Finding {
	var found []Finding
	for _, r := range s.runtimes() {
		if r.broken != "" || r.noCRI {
			continue
		}
		images := s.archivedImages()
		if r.name == "crio" {
			var faults []Finding
			images, faults = s.storedImages()
			found = append(found, faults...)
		}
		const fix = "preload it with a component of kind containerImages, or name a preloaded image in the runtime's configuration"
		switch {
		case r.pause == "":
			found = append(found, caution("/"+r.config, "write the pause image into the configuration", "%s does not say which pause image it uses, and its version is not known", r.name))
		case word(images, fullName(r.pause)):
		case len(images) > 0:
			found = append(found, fault("/"+r.config, fix, "%s needs the image %s for every pod, but the preloaded images are %s", r.name, r.pause, strings.Join(images, ", ")))
		default:
			found = append(found, caution("/"+r.config, fix, "%s needs the image %s for every pod, and it is not in the image: the first pod needs the registry", r.name, r.pause))
		}
	}
	return found
}

// fullName adds what short names leave out, as docker.io's names are stored.
func fullName(name string) string {
	first, _, slash := strings.Cut(name, "/")
	switch {
	case !slash:
		return "docker.io/library/" + name
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + name
	}
	return name
}

// archivedImages are the names in the archives that are imported into containerd.
func (s *system) archivedImages() []string {
	var names []string
	for _, e := range s.list(imagesDir) {
		if e = s.inode(e); e.Type == tree.File && path.Ext(e.Path) == ".tar" {
			names = append(names, s.archiveNames(e)...)
		}
	}
	return names
}

func (s *system) archiveNames(e tree.Entry) []string {
	r, err := s.src.Open(e.Content)
	if err != nil {
		s.fail(e.Path, err)
		return nil
	}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err != nil {
			return nil // at its end, or no archive: then there are no images in it
		}
		if h.Name != "index.json" {
			continue
		}
		var index struct {
			Manifests []struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"manifests"`
		}
		if json.NewDecoder(io.LimitReader(in, maxText)).Decode(&index) != nil {
			return nil
		}
		var names []string
		for _, m := range index.Manifests {
			names = append(names, fullName(m.Annotations["io.containerd.image.name"]))
		}
		return names
	}
}

// storageSettings is storage.conf, or nil when it is not there or not readable.
func (s *system) storageSettings() (settings, error) {
	text, ok := s.text(storageConf)
	if !ok {
		return nil, nil
	}
	t := settings{}
	if _, err := toml.Decode(text, (*map[string]any)(&t)); err != nil {
		return nil, err
	}
	return t, nil
}

// stores are the directories of CRI-O's images: its own, and the read-only ones.
func (s *system) stores() (own string, more []string) {
	t, err := s.storageSettings()
	if err != nil {
		return "", nil // another rule says so
	}
	own = relative(t.text("/var/lib/containers/storage", "storage", "graphroot"))
	more = t.list("storage", "options", "additionalimagestores")
	for _, r := range s.runtimes() {
		for i, option := range r.storage {
			if i == 0 {
				more = nil // CRI-O's list takes the place of storage.conf's
			}
			if dir, ok := strings.CutPrefix(option, "overlay.imagestore="); ok {
				more = append(more, dir)
			}
		}
	}
	return own, relatives(more)
}

// storedImages are the names in all stores, and what keeps CRI-O from opening one.
func (s *system) storedImages() (names []string, faults []Finding) {
	own, more := s.stores()
	names = s.imageNames(own)
	for _, dir := range more {
		if !s.exists(dir) {
			faults = append(faults, fault("/"+dir, "add the store, or take it out of additionalimagestores", "/%s names this image store, which is not there: CRI-O does not start at all", storageConf))
			continue
		}
		for _, lock := range []string{"overlay-images/images.lock", "overlay-layers/layers.lock"} {
			if !s.exists(dir + "/" + lock) {
				faults = append(faults, fault("/"+dir+"/"+lock, "add it as an empty file", "a read-only image store without its lock file cannot be opened"))
			}
		}
		names = append(names, s.imageNames(dir)...)
	}
	return names, faults
}

func (s *system) imageNames(store string) []string {
	text, ok := s.text(store + "/overlay-images/images.json")
	var images []struct {
		Names []string `json:"names"`
	}
	if !ok || json.Unmarshal([]byte(text), &images) != nil {
		return nil
	}
	var names []string
	for _, i := range images {
		names = append(names, i.Names...)
	}
	return names
}

// metacopyKernel is the first kernel whose overlayfs has metadata-only copies.
const metacopyKernel = "4.19"

// checkStorage: a mount option that the kernel does not know keeps CRI-O from starting.
func checkStorage(s *system) []Finding {
	t, err := s.storageSettings()
	if err != nil {
		return []Finding{fault("/"+storageConf, "correct the file", "it cannot be read: %v", err)}
	}
	options := []string{t.text("", "storage", "options", "mountopt"), t.text("", "storage", "options", "overlay", "mountopt")}
	where := "/" + storageConf
	for _, r := range s.runtimes() {
		for _, o := range r.storage {
			if m, ok := strings.CutPrefix(o, "overlay.mountopt="); ok {
				options, where = append(options, m), "/"+r.config
			}
		}
	}
	for _, o := range options {
		if !word(strings.Split(o, ","), "metacopy=on") {
			continue
		}
		for _, e := range s.list("lib/modules") {
			if version := path.Base(e.Path); older(version, metacopyKernel) {
				return []Finding{fault(where, `write mountopt = "nodev"`, "it mounts with metacopy=on, which the kernel %s does not know (%s does): the runtime does not start", version, metacopyKernel)}
			}
		}
	}
	return nil
}
