package test

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/deb"
	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/test/aptrepo"
	"github.com/edgebake/edgebake/test/oracle"
)

// aptJobs is how many apt-get run at once: each has an index of Debian in memory and one core busy.
const aptJobs = 2

// comparison is a built-in profile's archives as edgebake and as the real apt-get read them.
type comparison struct {
	inputs   lock.Inputs
	universe *apt.Universe
	oracle   *aptrepo.AptGet
	slots    chan struct{}
	indexes  []cas.Digest // xz
	local    []apt.Source // the same files in directories
}

// TestSolverLikeApt compares with apt-get on the real indexes of Debian 12.
func TestSolverLikeApt(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads the indexes of Debian 12")
	}
	slots := make(chan struct{}, aptJobs)
	for name, check := range map[string]func(*testing.T, comparison){
		"edge-rpi-debian-12":   func(*testing.T, comparison) {},
		"edge-debian-12-amd64": compareLoader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newComparison(t, name, slots)
			compareProfile(t, c)
			compareFresh(t, c)
			compareOnBase(t, c)
			check(t, c)
		})
	}
}

func newComparison(t testing.TB, name string, slots chan struct{}) comparison {
	t.Helper()
	loaded, err := profile.Load(t.Context(), profile.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	c := comparison{inputs: lock.Inputs{Profile: loaded.Profile, Keyrings: loaded.Keyrings, Now: time.Now()}, slots: slots}
	if c.inputs.Store, err = cas.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	hosts, err := fetch.HostSources("/")
	if err != nil {
		t.Fatal(err)
	}
	c.inputs.Client = fetch.New(fetch.Config{Store: c.inputs.Store, AptSources: hosts})
	sources := sourcesOf(loaded)
	c.universe, err = apt.Load(context.Background(), c.inputs.Client, c.inputs.Store, sources, loaded.Profile.Arch, c.inputs.Now)
	var missing *fetch.Error
	if errors.As(err, &missing) {
		oracle.Missing(t, "the Debian archive ("+err.Error()+")")
	} else if err != nil {
		t.Fatal(err)
	}
	var suites []aptrepo.Suite
	for i, s := range sources {
		suite := copySuite(t, &c, s, c.universe.Releases[i].Digest)
		suites = append(suites, suite)
		s.URLs = []string{"file://" + suite.Dir}
		c.local = append(c.local, s)
	}
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	c.oracle = aptrepo.NewAptGet(t, loaded.Profile.Arch, suites...)
	return c
}

func sourcesOf(l profile.Loaded) []apt.Source {
	var sources []apt.Source
	for _, s := range l.Profile.Apt.Sources {
		for _, suite := range s.Suites {
			sources = append(sources, apt.Source{Name: s.Name, URLs: []string{s.URL}, Suite: suite, Components: s.Components,
				Keyring: l.Keyrings[s.Name], Fingerprints: s.Fingerprints})
		}
	}
	return sources
}

// copySuite gives apt the very files that edgebake has read.
func copySuite(t testing.TB, c *comparison, s apt.Source, release cas.Digest) aptrepo.Suite {
	t.Helper()
	root := t.TempDir()
	link := func(name string, d cas.Digest) {
		path := filepath.Join(root, "dists", s.Suite, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(c.inputs.Store.Path(d), path)); err != nil {
			t.Fatal(err)
		}
	}
	link("InRelease", release)
	text, err := c.inputs.Store.ReadAll(release, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ ([0-9a-f]{64}) +\d+ (\S+/binary-`+c.universe.Arch+`/Packages\.xz)$`).FindAllSubmatch(text, -1) {
		if d := cas.Digest(m[1]); c.inputs.Store.Has(d) {
			link(string(m[2]), d)
			c.indexes = append(c.indexes, d)
		}
	}
	return aptrepo.Suite{Dir: root, Name: s.Suite, Components: s.Components, Keyring: s.Keyring}
}

// simulate waits for its turn.
func (c comparison) simulate(status string, request ...string) (aptrepo.Simulation, error) {
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	return c.oracle.Install(status, request...)
}

// compareProfile locks the profile, and has apt-get install what the profile asks for.
func compareProfile(t *testing.T, c comparison) {
	t.Run("profile", func(t *testing.T) {
		t.Parallel()
		locked, err := lock.Resolve(t.Context(), c.inputs)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range locked.Packages {
			got = append(got, p.Name+"="+p.Version)
		}
		slices.Sort(got)
		p := c.inputs.Profile
		want, err := c.simulate("", slices.Concat(setNames(t, c), p.Packages, []string{p.Boot.Kernel})...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want.Changes, got); diff != "" || len(got) < 100 {
			t.Errorf("%d packages; -apt +edgebake\n%s", len(got), diff)
		}
	})
}

// setNames are the essential packages and those of the profile's priorities.
func setNames(t *testing.T, c comparison) []string {
	t.Helper()
	var names []string
	for i := range c.universe.Packages {
		p := &c.universe.Packages[i]
		if (p.Essential || slices.Contains(c.inputs.Profile.Base.Priorities, p.Priority)) && c.universe.Candidate(p.Name) == p {
			names = append(names, p.Name)
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %d essential and required packages", len(names))
	}
	return names
}

// compareFresh asks for well-known packages, on nothing: small ones with alternatives, and the largest that Debian has.
func compareFresh(t *testing.T, c comparison) {
	for _, request := range []string{"default-mta", "apache2 php", "docker.io", "exim4 mailutils", "default-jdk-headless", "postgresql nodejs npm",
		"gnome-core", "task-xfce-desktop", "kde-plasma-desktop", "texlive-full", "nova-compute neutron-server", "openstack-dashboard",
		"libreoffice", "ros-desktop-full", "qemu-system libvirt-daemon-system", "mariadb-server phpmyadmin", "ganeti", "emacs vim-gtk3",
		"python3-sklearn jupyter", "kodi vlc"} {
		compareRequest(t, c, request)
	}
}

// compareLoader asks for what exists for PCs only.
func compareLoader(t *testing.T, c comparison) {
	compareRequest(t, c, "grub-efi-amd64-signed grub-pc-bin shim-signed steam-devices")
}

func compareRequest(t *testing.T, c comparison, request string) {
	t.Run(request, func(t *testing.T) {
		t.Parallel()
		solution, err := apt.Solve(c.universe, apt.Request{Install: strings.Fields(request)})
		if err != nil {
			t.Fatal(err)
		}
		c.slots <- struct{}{}
		defer func() { <-c.slots }()
		want, err := c.oracle.Fetched(strings.Fields(request)...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, changes(solution)); diff != "" {
			t.Errorf("-apt +edgebake\n%s", diff)
		}
		t.Logf("%d packages", len(want))
	})
}

func changes(s *apt.Solution) []string {
	var list []string
	for _, c := range s.Packages {
		text := c.String()
		if c.Upgrades != "" {
			text += "<" + c.Upgrades
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}

// compareOnBase asks for packages on a system that has some, a few of them older than the archive's.
func compareOnBase(t *testing.T, c comparison) {
	status := baseStatus(t, c)
	for _, request := range []string{"bash containerd", "apache2 php", "build-essential", "systemd-container", "libssl-dev", "network-manager cron",
		"default-mta openssh-server", "gcc systemd-homed", "exim4", "libpam0g-dev libudev-dev", "sysvinit-core"} {
		t.Run("base + "+request, func(t *testing.T) {
			t.Parallel()
			compareBaseRequest(t, c, status, request)
		})
	}
}

func compareBaseRequest(t *testing.T, c comparison, status, request string) {
	t.Helper()
	want, wantErr := c.simulate(status, strings.Fields(request)...)
	f, err := os.Open(status)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	installed, err := apt.ParseStatus(f)
	if err != nil {
		t.Fatal(err)
	}
	solution, err := apt.Solve(c.universe, apt.Request{Install: strings.Fields(request), Installed: installed})
	t.Logf("apt: %v, %v", want, wantErr)
	if wantErr != nil || len(want.Removes) > 0 {
		var bad *apt.UnsatisfiableError
		if !errors.As(err, &bad) {
			t.Errorf("%v, but apt-get would remove %v (%v)", err, want.Removes, wantErr)
		}
		t.Log(err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want.Changes, changes(solution)); diff != "" {
		t.Errorf("-apt +edgebake\n%s", diff)
	}
}

// baseStatus is the database of a system with systemd and a mail server. Packages from the sources
// systemd and openssl are older than the archive's; libpam0g is too, and on hold.
func baseStatus(t *testing.T, c comparison) string {
	t.Helper()
	s, err := apt.Solve(c.universe, apt.Request{Install: []string{"systemd-sysv", "libpam-systemd", "udev", "openssl", "postfix", "cron"}, Essential: true,
		Priorities: []string{"required"}})
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, p := range s.Packages {
		wanted[string(p.SHA256)] = true
	}
	var text strings.Builder
	for stanza := range indexStanzas(t, c) {
		if digest := stanza.Get("SHA256"); wanted[digest] {
			wanted[digest] = false // two archives may have it
			text.WriteString(installed(stanza) + "\n")
		}
	}
	path := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// installed is a package's stanza as dpkg writes it.
func installed(s deb.Stanza) string {
	name, version, want := s.Get("Package"), s.Get("Version"), "install"
	source, _, _ := strings.Cut(cmp.Or(s.Get("Source"), name), " ")
	if name == "libpam0g" {
		want = "hold"
	}
	s.Fields = append(s.Fields, deb.Field{Name: "Status", Value: want + " ok installed"})
	text := s.String()
	if slices.Contains([]string{"systemd", "openssl", "pam"}, source) {
		text = strings.ReplaceAll(text, version, version+"~0")
	}
	return text
}

// indexStanzas are all packages of all indexes.
func indexStanzas(t *testing.T, c comparison) iter.Seq[deb.Stanza] {
	return func(yield func(deb.Stanza) bool) {
		for _, d := range c.indexes {
			blob, err := c.inputs.Store.Open(d)
			if err != nil {
				t.Fatal(err)
			}
			defer blob.Close()
			r, err := deb.Decompress(".xz", blob.Reader())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for s, err := range deb.ParseStanzas(r, 1<<30) {
				if err != nil {
					t.Fatal(err)
				}
				if !yield(s) {
					return
				}
			}
		}
	}
}
