package standin

import (
	"bytes"
	"context"
	"debug/elf"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

// scripts are programs that nobody has to compile.
func scripts(arch string) Programs {
	script := []byte("#!/bin/sh\necho a stand-in\n")
	return Programs{Arch: arch, Named: script, Keadm: []byte("#!/bin/sh\necho keadm\n"), EdgeCore: []byte("#!/bin/sh\necho edgecore\n"), CRIO: map[string][]byte{crioGuide: script, crioARM: script}}
}

func newUpstream(t *testing.T) *Upstream { return NewUpstream(t.TempDir(), signed) }

func newKey(t *testing.T, name string) Key {
	t.Helper()
	k, err := NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs an oracle and returns what it prints.
func run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), oracle.Need(t, tool), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func keyring(t *testing.T, k Key) string {
	t.Helper()
	data, err := k.Public()
	check(t, err)
	path := filepath.Join(t.TempDir(), "keys.gpg")
	write(t, path, string(data))
	return path
}

// TestSumsAreSigned lets gpgv judge: a good signature of the pinned key, another that it can't check.
func TestSumsAreSigned(t *testing.T) {
	u, key, unknown := newUpstream(t), newKey(t, "CD image key"), newKey(t, "retired key")
	const image = "https://cdimage.example.org/releases/20.04.5/release/a+b.img.xz"
	check(t, u.Put(image, []byte("image")))
	check(t, u.Sign(key, []Key{unknown}, image))
	dir := filepath.Join(u.root, "cdimage.example.org/releases/20.04.5/release")
	cmd := exec.CommandContext(t.Context(), oracle.Need(t, "gpgv"), "--status-fd", "1", "--keyring", keyring(t, key), "SHA256SUMS.gpg", "SHA256SUMS")
	cmd.Dir = dir
	out, _ := cmd.Output() // its exit code is that of the signature by an unknown key
	for _, want := range []string{"VALIDSIG " + key.Fingerprint(), "NO_PUBKEY " + unknown.Fingerprint()[24:]} {
		if !strings.Contains(string(out), want) {
			t.Errorf("gpgv does not say %q:\n%s", want, out)
		}
	}
	sums := exec.CommandContext(t.Context(), oracle.Need(t, "sha256sum"), "--check", "--ignore-missing", "SHA256SUMS")
	sums.Dir = dir
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// aptGet runs apt-get with these sources, and returns what it would install.
func aptGet(t *testing.T, arch string, sources []string, install ...string) []string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d"} {
		makeDir(t, filepath.Join(dir, d))
	}
	write(t, filepath.Join(dir, "state/status"), "")
	write(t, filepath.Join(dir, "etc/sources.list"), strings.Join(sources, "\n")+"\n")
	conf := filepath.Join(dir, "apt.conf")
	write(t, conf, strings.NewReplacer("DIR", dir, "ARCH", arch).Replace(`Dir::Etc "DIR/etc"; Dir::Etc::Main "none"; Dir::State "DIR/state"; Dir::State::status "DIR/state/status"; Dir::Cache "DIR/cache";
APT::Architecture "ARCH"; APT::Architectures { "ARCH"; }; APT::Sandbox::User "root"; Acquire::Languages "none"; APT::Install-Recommends "false";
`))
	t.Setenv("APT_CONFIG", conf)
	run(t, "apt-get", "update")
	var out []string
	for line := range strings.Lines(run(t, "apt-get", append([]string{"-s", "install"}, install...)...)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "Inst" {
			out = append(out, words[1])
		}
	}
	slices.Sort(out)
	return out
}

// TestArchivesForAptGet lets apt-get verify the archives and plan CRI-O's installation: without
// cri-o-runc, which nothing depends on.
func TestArchivesForAptGet(t *testing.T) {
	u, obs, ubuntu := newUpstream(t), newKey(t, "devel:kubic OBS Project"), newKey(t, "Ubuntu Archive")
	check(t, u.Kubic(t, obs, Focal(), scripts("arm64")))
	var packages []Package
	for _, d := range []aptrepo.Deb{
		{Name: "libgpgme11", Arch: "arm64", Depends: "libassuan0"}, {Name: "libassuan0", Arch: "arm64"}, {Name: "libseccomp2", Arch: "arm64"}, {Name: "tzdata"},
	} {
		packages = append(packages, Package{Data: d.Build(t)})
	}
	mosquitto := aptrepo.Deb{Name: "mosquitto", Version: "1:2.0-1", Arch: "arm64"}
	packages = append(packages, Package{Data: mosquitto.Build(t), Component: "universe"})
	check(t, u.UbuntuArchive("http://ports.ubuntu.com/ubuntu-ports", ubuntu, Focal(), "arm64", packages...))
	server := u.Serve()
	defer server.Close()
	stable := server.URL + "/download.opensuse.org/repositories/devel:/kubic:/libcontainers:/stable"
	sources := []string{
		"deb [signed-by=" + keyring(t, obs) + "] " + stable + "/xUbuntu_20.04/ /",
		"deb [signed-by=" + keyring(t, obs) + "] " + stable + ":/cri-o:/1.20/xUbuntu_20.04/ /",
	}
	for _, suite := range []string{"focal", "focal-updates", "focal-security"} {
		sources = append(sources, "deb [signed-by="+keyring(t, ubuntu)+"] "+server.URL+"/ports.ubuntu.com/ubuntu-ports "+suite+" main universe")
	}
	got := aptGet(t, "arm64", sources, "cri-o", "mosquitto")
	want := []string{"conmon", "containers-common", "cri-o", "libassuan0", "libgpgme11", "libseccomp2", "mosquitto", "tzdata"}
	if !slices.Equal(got, want) {
		t.Errorf("apt-get would install %v, want %v", got, want)
	}
}

func TestMirrors(t *testing.T) {
	u := newUpstream(t)
	check(t, u.Put("http://ports.ubuntu.com/ubuntu-ports/a", []byte("a")))
	check(t, u.Put("https://github.com/x/y+z", []byte("b")))
	got := strings.Join(u.Mirrors("http://127.0.0.1:80"), " ")
	want := "--mirror http://ports.ubuntu.com=http://127.0.0.1:80/ports.ubuntu.com --mirror https://github.com=http://127.0.0.1:80/github.com"
	if got != want {
		t.Errorf("flags are %s, want %s", got, want)
	}
	server := u.Serve()
	defer server.Close()
	if got := get(t, server.URL+"/github.com/x/y+z"); got != "b" {
		t.Errorf("the server answers %q", got)
	}
}

func get(t *testing.T, from string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, from, nil)
	check(t, err)
	answer, err := http.DefaultClient.Do(req)
	check(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	check(t, err)
	return string(b)
}

// through sends requests for any host to the server, as edgebake's mirrors do.
type through struct{ server *url.URL }

func (v through) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Path = "/" + r.URL.Host + r.URL.Path
	r.URL.Scheme, r.URL.Host = v.server.Scheme, v.server.Host
	return http.DefaultTransport.RoundTrip(r)
}

// TestImagesForRegistryClients lets go-containerregistry pull and check an image.
func TestImagesForRegistryClients(t *testing.T) {
	u := newUpstream(t)
	check(t, u.Image("registry.k8s.io/pause:3.2", scripts("amd64"), scripts("arm64")))
	server := u.Serve()
	defer server.Close()
	at, err := url.Parse(server.URL)
	check(t, err)
	ref, err := name.ParseReference("registry.k8s.io/pause:3.2")
	check(t, err)
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := remote.Image(ref, remote.WithContext(context.WithoutCancel(t.Context())), remote.WithTransport(through{at}), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		check(t, err)
		check(t, validate.Image(image))
		c, err := image.ConfigFile()
		check(t, err)
		if c.Architecture != arch {
			t.Errorf("the image is for %s, want %s", c.Architecture, arch)
		}
	}
}

// TestReleases reads the tarballs with tar, and their hashes with the tools that users have.
func TestReleases(t *testing.T) {
	u := newUpstream(t)
	check(t, u.Releases(scripts("amd64")))
	check(t, u.Releases(scripts("arm64")))
	const kubeedge, crio = "github.com/kubeedge/kubeedge/releases/download/v1.8.2/", "storage.googleapis.com/k8s-conform-cri-o/artifacts/"
	for file, wants := range map[string][]string{
		kubeedge + "kubeedge-v1.8.2-linux-arm64.tar.gz": {"kubeedge-v1.8.2-linux-arm64/edge/edgecore", "kubeedge-v1.8.2-linux-arm64/cloud/cloudcore/cloudcore"},
		kubeedge + "keadm-v1.8.2-linux-amd64.tar.gz":    {"keadm-v1.8.2-linux-amd64/keadm/keadm"},
		crio + "crio-v1.20.0.tar.gz":                    {"crio-v1.20.0/bin/crio", "crio-v1.20.0/bin/runc", "crio-v1.20.0/contrib/policy.json"},
		crio + "cri-o.arm64.v1.20.3.tar.gz":             {"cri-o/bin/crun", "cri-o/contrib/crio.service"},
		"github.com/containernetworking/plugins/releases/download/v0.8.7/cni-plugins-linux-arm64-v0.8.7.tgz": {"./bridge", "./vlan"},
	} {
		list := strings.Fields(run(t, "tar", "-tzf", filepath.Join(u.root, file)))
		for _, want := range wants {
			if !slices.Contains(list, want) {
				t.Errorf("%s has no %s: %v", file, want, list)
			}
		}
		if strings.Contains(file, "arm64.v1.20.3") && slices.Contains(list, "cri-o/bin/runc") {
			t.Error("the bundle for arm64 has a runc: upstream's has none")
		}
	}
	tarball := filepath.Join(u.root, kubeedge, "kubeedge-v1.8.2-linux-arm64.tar.gz")
	sum, err := os.ReadFile(filepath.Join(u.root, kubeedge, "checksum_kubeedge-v1.8.2-linux-arm64.tar.gz.txt"))
	check(t, err)
	if want := strings.Fields(run(t, "sha512sum", tarball))[0]; string(bytes.TrimSpace(sum)) != want {
		t.Errorf("the checksum file says %s, sha512sum %s", sum, want)
	}
	for tarball, inside := range map[string]string{"kubeedge": "edge/edgecore", "keadm": "keadm/keadm"} {
		top := tarball + "-v1.8.2-linux-arm64"
		if got := run(t, "tar", "-xOzf", filepath.Join(u.root, kubeedge, top+".tar.gz"), top+"/"+inside); got != "#!/bin/sh\necho "+filepath.Base(inside)+"\n" {
			t.Errorf("%s in the release is %q", inside, got)
		}
	}
}

// TestPrograms compiles for this machine: static programs that say what they are.
func TestPrograms(t *testing.T) {
	p, err := BuildPrograms(t.Context(), ".", t.TempDir(), runtime.GOARCH)
	check(t, err)
	for name, data := range map[string][]byte{"keadm": p.Keadm, "edgecore": p.EdgeCore, "crio": p.CRIO[crioGuide], "program": p.Named} {
		f, err := elf.NewFile(bytes.NewReader(data))
		check(t, err)
		if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			t.Errorf("%s is not static", name)
		}
		if !bytes.Contains(data, []byte("stand-in for tests")) {
			t.Errorf("%s does not say that it is a stand-in", name)
		}
	}
}
