package lock_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/apt"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/test/aptrepo"
)

// before is the archive when the first lock is made. The profile's parents ask for base and app, its own file for tool.
func before() []aptrepo.Deb {
	return []aptrepo.Deb{{Name: "busybox-static"}, {Name: "linux-image-arm64"}, {Name: "lib"}, {Name: "base", Depends: "lib"},
		{Name: "app", Depends: "base, part, lib"}, {Name: "part"}, {Name: "tool", Depends: "lib2"}, {Name: "lib2"}}
}

// with replaces packages of the same name, and adds the others.
func with(debs []aptrepo.Deb, changed ...aptrepo.Deb) []aptrepo.Deb {
	for _, d := range changed {
		debs = slices.DeleteFunc(debs, func(old aptrepo.Deb) bool { return old.Name == d.Name })
	}
	return append(debs, changed...)
}

// stacked is an archive that changes, and the profile that is locked again and again.
type stacked struct {
	t    *testing.T
	in   lock.Inputs
	dir  string
	days int
}

func newStacked(t *testing.T) *stacked {
	t.Helper()
	s := &stacked{t: t, in: layeredInputs(t), dir: t.TempDir()}
	s.in.Own = []string{"tool"}
	s.in.Profile.Packages = []string{"base", "app", "tool"}
	return s
}

// publish makes the archive anew, a day later. What was in it stays in the pool, as in a snapshot archive.
func (s *stacked) publish(debs ...aptrepo.Deb) {
	s.t.Helper()
	s.days++
	r := aptrepo.New(s.t).Add(debs...)
	r.Date = time.Date(2026, 1, 2+s.days, 0, 0, 0, 0, time.UTC)
	r.Write(s.dir)
	s.in.Profile.Apt.Sources[0].URL, s.in.Profile.Apt.Sources[0].Fingerprints = "file://"+s.dir, []string{r.Fingerprint()}
	s.in.Keyrings = map[string][]byte{"test": r.Keyring()}
}

func (s *stacked) resolve() (lock.Lock, error) { return lock.Resolve(s.t.Context(), s.in) }

// onTop locks over old, as the command line does.
func (s *stacked) onTop(old lock.Lock, update ...string) (lock.Lock, error) {
	s.t.Helper()
	s.keep(old, update...)
	s.in.OnTop = &old
	return s.resolve()
}

func (s *stacked) keep(old lock.Lock, update ...string) {
	s.in.Keep, s.in.KeepGuest, s.in.KeepHost, s.in.Before, s.in.Update = old.Installed(), old.Guest, old.Host, old.Archives, update
}

// TestOnTop changes the archive and updates some packages. A word of want is NAME=VERSION of the lower layer,
// NAME=VERSION/1 of the upper one, with <OLD for what it replaces.
func TestOnTop(t *testing.T) {
	const lower = "lib=1 base=1 part=1 app=1 linux-image-arm64=1 "
	two := func(name string) aptrepo.Deb { return aptrepo.Deb{Name: name, Version: "2"} }
	for name, tt := range map[string]struct {
		now    []aptrepo.Deb
		update string
		want   string
	}{
		"nothing":                        {nil, "", "lib2=1/1 tool=1/1"},
		"one of the lower layer":         {[]aptrepo.Deb{two("lib")}, "lib", "lib=2/1<1 lib2=1/1 tool=1/1"},
		"one of the upper layer":         {[]aptrepo.Deb{two("lib2")}, "lib2", "lib2=2/1 tool=1/1"},
		"the named one alone":            {[]aptrepo.Deb{two("lib"), two("part"), two("lib2")}, "lib", "lib=2/1<1 lib2=1/1 tool=1/1"},
		"needs a new one":                {[]aptrepo.Deb{{Name: "part", Version: "2", Depends: "fresh"}, {Name: "fresh"}}, "part", "fresh=1/1 part=2/1<1 lib2=1/1 tool=1/1"},
		"needs another one's update":     {[]aptrepo.Deb{{Name: "app", Version: "2", Depends: "base, part (>= 2)"}, two("part")}, "app part", "part=2/1<1 app=2/1<1 lib2=1/1 tool=1/1"},
		"breaks another one's old":       {[]aptrepo.Deb{{Name: "base", Version: "2", Breaks: "lib (<< 2)"}, {Name: "lib", Version: "2", Depends: "base (>= 2)"}}, "base lib", "lib=2/1<1 base=2/1<1 lib2=1/1 tool=1/1"},
		"nobody's business in the guest": {[]aptrepo.Deb{two("busybox-static"), two("lib")}, "lib", "lib=2/1<1 lib2=1/1 tool=1/1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStacked(t)
			s.publish(before()...)
			old, err := s.resolve()
			if err != nil {
				t.Fatal(err)
			}
			s.publish(with(before(), tt.now...)...)
			l, err := s.onTop(old, strings.Fields(tt.update)...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(lower+tt.want, versions(l)); d != "" {
				t.Error(d)
			}
			sameBelow(t, old, l)
			rereads(t, l)
			if err := s.in.Client.All(t.Context(), l.Requests()); err != nil {
				t.Error(err)
			}
		})
	}
}

func versions(l lock.Lock) string {
	var out []string
	for _, p := range l.Packages {
		word := p.Name + "=" + p.Version
		if p.Layer == 1 {
			word += "/1"
		}
		if p.Upgrades != "" {
			word += "<" + p.Upgrades
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

// sameBelow wants all that decides how the lower layer is configured to be as it was, and from the archive as it was.
func sameBelow(t *testing.T, old, now lock.Lock) {
	t.Helper()
	was, _ := old.Layers()
	is, _ := now.Layers()
	if d := cmp.Diff(described(old, was, old.Guest), described(now, is, now.Guest)); d != "" || old.Epoch != now.Epoch {
		t.Errorf("the lower layer is another one, of %d and %d: %s", old.Epoch, now.Epoch, d)
	}
}

// described are the packages with the archives that they come from.
func described(l lock.Lock, lists ...[]lock.Package) (out []any) {
	for _, p := range slices.Concat(lists...) {
		from := l.Archives[p.Archive]
		p.Archive = 0
		out = append(out, p, from)
	}
	return out
}

// rereads wants a lock to be one that bake reads, and an image to have each package once.
func rereads(t *testing.T, l lock.Lock) {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Parse("stacked", text); err != nil {
		t.Error(err)
	}
	seen := map[string]bool{}
	for _, p := range l.Installed() {
		if seen[p.Name] || p.Upgrades != "" {
			t.Errorf("installed: %+v", p)
		}
		seen[p.Name] = true
	}
}

// TestOnTopAgain updates twice, then locks with and without what was put on top.
func TestOnTopAgain(t *testing.T) {
	s := newStacked(t)
	s.publish(before()...)
	first, err := s.resolve()
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.onTop(first)
	if err != nil || versions(l) != versions(first) || len(l.Archives) != 1 {
		t.Errorf("the same archive: got %s from %+v, %v", versions(l), l.Archives, err)
	}
	for _, version := range []string{"2", "3"} {
		s.publish(with(before(), aptrepo.Deb{Name: "lib", Version: version})...)
		if l, err = s.onTop(l, "lib"); err != nil {
			t.Fatal(err)
		}
		sameBelow(t, first, l)
		if want := "lib=1 base=1 part=1 app=1 linux-image-arm64=1 lib=" + version + "/1<1 lib2=1/1 tool=1/1"; versions(l) != want {
			t.Errorf("got %s, want %s", versions(l), want)
		}
		if len(l.Archives) != 2 || l.Archives[0].Date == l.Archives[1].Date {
			t.Errorf("the archives are %+v", l.Archives)
		}
	}
	s.publish(with(before(), aptrepo.Deb{Name: "lib", Version: "4"}, aptrepo.Deb{Name: "part", Version: "2"})...)
	keeps, err := s.onTop(l, "part") // lib 3 is gone from the archive
	if err != nil {
		t.Fatal(err)
	}
	if want := "lib=1 base=1 part=1 app=1 linux-image-arm64=1 lib=3/1<1 part=2/1<1 lib2=1/1 tool=1/1"; versions(keeps) != want {
		t.Errorf("got %s, want %s", versions(keeps), want)
	}
	if at := keeps.Archives[keeps.Packages[5].Archive]; at != l.Archives[0] {
		t.Errorf("lib 3 is from %+v", at)
	}
	s.publish(with(append(before(), aptrepo.Deb{Name: "lib", Version: "3"}, aptrepo.Deb{Name: "lib", Version: "4"}))...)
	s.keep(l)
	s.in.OnTop = nil
	if l, err = s.resolve(); err != nil {
		t.Fatal(err)
	}
	if want := "lib=3 base=1 part=1 app=1 linux-image-arm64=1 lib2=1/1 tool=1/1"; versions(l) != want || len(l.Archives) != 1 {
		t.Errorf("afresh: got %s, want %s; %+v", versions(l), want, l.Archives)
	}
}

// TestOnTopOfAnotherList adds packages to the profile's own and to its parents': all are on top.
func TestOnTopOfAnotherList(t *testing.T) {
	s := newStacked(t)
	s.publish(before()...)
	old, err := s.resolve()
	if err != nil {
		t.Fatal(err)
	}
	s.publish(with(before(), aptrepo.Deb{Name: "own"}, aptrepo.Deb{Name: "parents", Depends: "lib (>= 2)"}, aptrepo.Deb{Name: "lib", Version: "2"})...)
	s.in.Own, s.in.Profile.Packages = append(s.in.Own, "own"), append(s.in.Profile.Packages, "own", "parents")
	l, err := s.onTop(old, "lib")
	if err != nil {
		t.Fatal(err)
	}
	sameBelow(t, old, l)
	if _, upper := l.Layers(); len(upper) != 5 || l.RequestDigest == old.RequestDigest {
		t.Errorf("got %s", versions(l))
	}
}

// TestOnTopIsNoRollback wants the newest of an archive's dates to count.
func TestOnTopIsNoRollback(t *testing.T) {
	s := newStacked(t)
	s.publish(before()...)
	old, err := s.resolve()
	if err != nil {
		t.Fatal(err)
	}
	s.days += 5
	s.publish(with(before(), aptrepo.Deb{Name: "lib", Version: "2"})...)
	l, err := s.onTop(old, "lib")
	if err != nil {
		t.Fatal(err)
	}
	s.days -= 3
	s.publish(before()...)
	var rollback *apt.RollbackError
	if _, err := s.onTop(l, "lib"); !errors.As(err, &rollback) {
		t.Errorf("got %v", err)
	}
}

func TestOnTopRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		now    []aptrepo.Deb
		update string
		want   string
	}{
		"gone":            {[]aptrepo.Deb{{Name: "app", Version: "2", Depends: "base"}}, "app part", "part 1 is in it, and would go away"},
		"kernel":          {[]aptrepo.Deb{{Name: "linux-image-arm64", Version: "2"}}, "linux-image-arm64", "linux-image-arm64 2 is a kernel"},
		"one more kernel": {[]aptrepo.Deb{{Name: "app", Version: "2", Depends: "part, linux-image-rt"}, {Name: "linux-image-rt"}}, "app", "linux-image-rt 1 is a kernel"},
		"older":           {[]aptrepo.Deb{{Name: "lib", Version: "0"}}, "lib", "lib 1 is in it, and the archives have 0, which is older"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStacked(t)
			s.publish(before()...)
			old, err := s.resolve()
			if err != nil {
				t.Fatal(err)
			}
			s.publish(with(before(), tt.now...)...)
			var refused *lock.OnTopError
			if _, err = s.onTop(old, strings.Fields(tt.update)...); !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestOnTopOfAChangedFile: nobody has the bytes any more of which the lower layer was configured.
func TestOnTopOfAChangedFile(t *testing.T) {
	in := localInputs(t, aptrepo.Deb{Name: "cri-o", Arch: "arm64"})
	old, err := lock.Resolve(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	in.Keep, in.OnTop = old.Installed(), &old
	if l, err := lock.Resolve(t.Context(), in); err != nil || versions(l) != versions(old) {
		t.Errorf("got %s, %v", versions(l), err)
	}
	changed := aptrepo.Deb{Name: "cri-o", Version: "2", Arch: "arm64"}.Build(t)
	file := &in.Components[0].Files[0]
	if file.SHA256, err = in.Store.PutBytes(changed); err != nil {
		t.Fatal(err)
	}
	file.Size = int64(len(changed))
	var refused *lock.OnTopError
	if _, err := lock.Resolve(t.Context(), in); !errors.As(err, &refused) || !strings.Contains(err.Error(), "cri-o 1 from a file of this machine") {
		t.Errorf("got %v", err)
	}
}

func TestCheckOnTop(t *testing.T) {
	old := lock.Lock{Arch: "arm64", Packages: []lock.Package{{Name: "a"}}, Guest: []lock.Package{{Name: "busybox-static"}}}
	based := old
	based.Base = &lock.Base{}
	for name, tt := range map[string]struct {
		old    lock.Lock
		p      profile.Profile
		update string
		want   string
	}{
		"fits":                 {old, profile.Profile{Arch: "arm64"}, "a", ""},
		"lock on a base image": {based, profile.Profile{Arch: "arm64"}, "a", "base image"},
		"profile on one":       {old, profile.Profile{Arch: "arm64", Base: profile.Base{Image: &profile.BaseImage{}}}, "a", "base image"},
		"architecture":         {old, profile.Profile{Arch: "amd64"}, "a", "of arm64, and the profile of amd64"},
		"the guest's":          {old, profile.Profile{Arch: "arm64"}, "busybox-static", "busybox-static is of the guest"},
	} {
		err := tt.old.CheckOnTop(tt.p, []string{tt.update})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
