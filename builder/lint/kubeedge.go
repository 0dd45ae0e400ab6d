package lint

import (
	"crypto/sha512"
	"encoding/hex"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// goldenDir holds the files of KubeEdge that the first boot copies to /etc/kubeedge: keadm reset
// empties the latter.
const goldenDir = "usr/lib/edgebake/kubeedge"

var tarballName = regexp.MustCompile(`^kubeedge-v(\d+\.\d+\.\d+[^/]*)-linux-(\w+)\.tar\.gz$`)

// tarballs are KubeEdge's archives in the places where keadm or the first boot look.
func (s *system) tarballs() []tree.Entry {
	var out []tree.Entry
	for _, dir := range []string{goldenDir, "etc/kubeedge"} {
		for _, e := range s.list(dir) {
			if tarballName.MatchString(path.Base(e.Path)) {
				out = append(out, s.inode(e))
			}
		}
	}
	return out
}

func (s *system) kubeEdgeVersion() string {
	for _, e := range s.tarballs() {
		return tarballName.FindStringSubmatch(path.Base(e.Path))[1]
	}
	return ""
}

// checkKubeEdge knows what keadm join 1.8 trips over.
func checkKubeEdge(s *system) []Finding {
	var found []Finding
	for _, e := range s.tarballs() {
		found = append(found, s.checkTarball(e)...)
	}
	if s.program("keadm") == "" {
		return found
	}
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
		if _, err := s.root.Lookup(dir + "/edgecore.service"); err == nil && dir == "etc/systemd/system" && !s.booted {
			found = append(found, fault("/"+dir+"/edgecore.service", "keep the unit in /"+goldenDir+" only", "keadm join makes a hard link of this name and fails when it exists"))
		}
	}
	if s.role != Edge {
		return found
	}
	if !s.exists(goldenDir+"/edgecore.service") && !s.exists("etc/kubeedge/edgecore.service") {
		found = append(found, caution("/"+goldenDir, "add edgecore.service", "keadm join fetches edgecore.service from the network when it is not there"))
	}
	for _, need := range []struct{ program, why string }{
		{"mosquitto", "keadm join installs it from the network when it does not run"}, {"sudo", "keadm join calls it, also as root"},
		{"ps", "keadm join looks for mosquitto with it"}, {"pidof", "keadm join fails without it"},
	} {
		if s.program(need.program) == "" {
			found = append(found, fault("/usr/bin/"+need.program, "add the package with "+need.program, "it is not there: %s", need.why))
		}
	}
	return found
}

// checkTarball: with a checksum that is missing, or not the digits alone, keadm asks on a standard
// input that nobody answers, for ever.
func (s *system) checkTarball(e tree.Entry) []Finding {
	m := tarballName.FindStringSubmatch(path.Base(e.Path))
	sumFile := path.Dir(e.Path) + "/checksum_" + path.Base(e.Path) + ".txt"
	const fix = "write the 128 hexadecimal digits of its SHA-512, and nothing else, into the checksum file"
	var found []Finding
	if s.arch != "" && m[2] != s.arch && !(m[2] == "arm" && s.arch == "armhf") {
		found = append(found, fault("/"+e.Path, "take the archive for "+s.arch, "it is for %s in an image for %s", m[2], s.arch))
	}
	text, ok := s.text(sumFile)
	if !ok {
		return append(found, fault("/"+sumFile, fix, "it is not there: keadm join asks what to do, and waits for ever"))
	}
	r, err := s.src.Open(e.Content)
	if err != nil {
		s.fail(e.Path, err)
		return found
	}
	h := sha512.New()
	if _, err := io.Copy(h, r); err != nil {
		s.fail(e.Path, err)
		return found
	}
	if got := hex.EncodeToString(h.Sum(nil)); strings.ReplaceAll(text, "\n", "") != got {
		return append(found, fault("/"+sumFile, fix, "it does not hold the SHA-512 of %s alone (%s…): keadm join asks what to do, and waits for ever", path.Base(e.Path), got[:16]))
	}
	return found
}

// checkEdgeKubelet: edgecore takes the place of the kubelet and does not start beside one.
func checkEdgeKubelet(s *system) []Finding {
	if s.role != Edge {
		return nil
	}
	var found []Finding
	for _, program := range []string{"kubelet", "kube-proxy"} {
		if p := s.program(program); p != "" {
			found = append(found, fault("/"+p, "leave it out of an edge's profile", "edgecore refuses to work beside %s", program))
		}
		if e, ok := s.unit(program + ".service"); ok && e.Type == tree.File {
			found = append(found, fault("/"+e.Path, "leave it out of an edge's profile", "a unit for %s is on an edge", program))
		}
	}
	return found
}
