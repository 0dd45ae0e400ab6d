package apt

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/test/oracle"
)

// hostSources reads the machine's own deb822 sources of Debian 12, with the keyrings they name.
func hostSources(t testing.TB) []Source {
	t.Helper()
	data, err := os.ReadFile("/etc/apt/sources.list.d/debian.sources")
	if err != nil {
		oracle.Missing(t, "the host's Debian sources")
	}
	text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(string(data), "")
	var list []Source
	for s, err := range deb.ParseStanzas(strings.NewReader(text), 1<<20) {
		if err != nil {
			t.Fatal(err)
		}
		keyring, err := os.ReadFile(s.Get("Signed-By"))
		if err != nil {
			oracle.Missing(t, "the host's Debian keyring")
		}
		keys, err := readKeys(keyring)
		if err != nil {
			t.Fatal(err)
		}
		var prints []string
		for _, k := range keys {
			prints = append(prints, hexPrint(k))
		}
		for _, suite := range strings.Fields(s.Get("Suites")) {
			if !strings.HasPrefix(suite, "bookworm") {
				oracle.Missing(t, "a host with Debian 12 sources")
			}
			list = append(list, Source{Name: suite, URLs: []string{strings.Fields(s.Get("URIs"))[0]}, Suite: suite,
				Components: []string{"main", "non-free-firmware"}, Keyring: keyring, Fingerprints: prints, IgnoreValidUntil: true})
		}
	}
	return list
}

// aptState has apt-get fetch the same sources for arch into a directory of its own.
type aptState struct{ dir, arch string }

func newAptState(t *testing.T, arch string, sources []Source) aptState {
	t.Helper()
	oracle.Need(t, "apt-get")
	a := aptState{dir: t.TempDir(), arch: arch}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	for i, s := range sources {
		ring := filepath.Join(a.dir, "keyring"+string(rune('a'+i))+".gpg")
		if err := os.WriteFile(ring, s.Keyring, 0o644); err != nil {
			t.Fatal(err)
		}
		text.WriteString("deb [check-valid-until=no signed-by=" + ring + "] " + s.URLs[0] + " " + s.Suite + " " + strings.Join(s.Components, " ") + "\n")
	}
	for name, content := range map[string]string{"etc/sources.list": text.String(), "state/status": ""} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := a.command("update").CombinedOutput(); err != nil {
		oracle.Missing(t, "the Debian archive ("+string(out)+")")
	}
	return a
}

func (a aptState) command(args ...string) *exec.Cmd {
	options := []string{"-o", "Dir::Etc=" + a.dir + "/etc", "-o", "Dir::State=" + a.dir + "/state", "-o", "Dir::State::status=" + a.dir + "/state/status",
		"-o", "Dir::Cache=" + a.dir + "/cache", "-o", "APT::Architecture=" + a.arch, "-o", "APT::Architectures::=" + a.arch,
		"-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "APT::Install-Recommends=false"}
	return exec.Command("apt-get", append(options, args...)...)
}

// install returns what apt-get would install, as sorted "name=version".
func (a aptState) install(t *testing.T, names ...string) []string {
	t.Helper()
	out, err := a.command(append([]string{"-s", "-qq", "install"}, names...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("apt-get install %v: %v\n%s", names, err, out)
	}
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) `).FindAllStringSubmatch(string(out), -1) {
		list = append(list, m[1]+"="+m[2])
	}
	slices.Sort(list)
	return list
}

func chosenNames(s *Solution) []string {
	var list []string
	for _, c := range s.Packages {
		list = append(list, c.String())
	}
	slices.Sort(list)
	return list
}

// TestSolveLikeApt compares with apt-get on the real Debian 12 indexes.
func TestSolveLikeApt(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads the indexes of Debian 12")
	}
	sources := hostSources(t)
	for arch, more := range map[string][]string{"arm64": {"linux-image-arm64", "raspi-firmware"}, "amd64": {"linux-image-amd64", "grub-efi-amd64-signed", "shim-signed"}} {
		t.Run(arch, func(t *testing.T) {
			apt := newAptState(t, arch, sources)
			u := loadReal(t, sources, arch)
			base := baseNames(t, u)
			edge := slices.Concat([]string{"systemd", "systemd-sysv", "cloud-init", "openssh-server", "containerd", "mosquitto"}, more)
			for _, request := range [][]string{edge, slices.Concat(edge, base), base, {"bash"}, {"containerd"}, {"mosquitto", "cloud-init"},
				{"default-mta"}, {"apache2", "php"}, {"docker.io"}, {"network-manager"}, {"exim4", "mailutils"}, {"gnome-core"}, {"build-essential"}, {"default-jdk-headless"}} {
				compareSolutions(t, apt, u, request)
			}
		})
	}
}

func compareSolutions(t *testing.T, apt aptState, u *Universe, request []string) {
	t.Helper()
	solution, err := Solve(u, Request{Install: request})
	if err != nil {
		t.Errorf("%v: %v", request, err)
		return
	}
	if diff := cmp.Diff(apt.install(t, request...), chosenNames(solution)); diff != "" {
		t.Errorf("%v: -apt +edgebake\n%s", request, diff)
	}
	t.Logf("%d packages for %v", len(solution.Packages), request[:min(4, len(request))])
}

// baseNames are the essential packages and those of priority required.
func baseNames(t *testing.T, u *Universe) []string {
	t.Helper()
	s := &solver{u: u, pinned: map[string]*Package{}, candidates: map[string]*Package{}}
	var names []string
	for _, r := range s.setRoots(Request{Essential: true, Priorities: []string{"required"}}) {
		names = append(names, r.pkg.Name)
	}
	if len(names) < 20 {
		t.Fatalf("only %d essential and required packages", len(names))
	}
	return names
}

func loadReal(t testing.TB, sources []Source, arch string) *Universe {
	t.Helper()
	store, err := cas.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client := fetch.New(fetch.Config{Store: store})
	load := func() (*Universe, time.Duration) {
		start := time.Now()
		u, err := Load(context.Background(), client, store, sources, arch, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return u, time.Since(start)
	}
	load()
	u, took := load()
	var after runtime.MemStats
	start := time.Now()
	if _, err := Solve(u, Request{Install: []string{"systemd", "cloud-init", "openssh-server", "containerd", "mosquitto"}, Essential: true, Priorities: []string{"required"}}); err != nil {
		t.Error(err)
	}
	solve := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := after.HeapAlloc
	count := len(u.Packages)
	runtime.KeepAlive(u)
	t.Logf("%s: %d packages; load with warm downloads %v, solve %v, heap %d MiB", arch, count, took, solve, held>>20)
	return u
}

func hexPrint(k *openpgp.Entity) string { return fmt.Sprintf("%X", k.PrimaryKey.Fingerprint) }
