package deb

import (
	"bytes"
	"fmt"
	"math/rand"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/test/oracle"
)

// pairs are generated from parts in which the order of dpkg is not that of strings.
func pairs(n int) [][2]string {
	rng := rand.New(rand.NewSource(1))
	parts := []string{"1", "01", "10", "9", "~", "~rc1", "+b1", ".", "a", "A", "z", "-1", "-0", "deb12u1", "+", "00", "~~", "1.2"}
	word := func() string {
		v := fmt.Sprint(rng.Intn(3))
		for range rng.Intn(4) {
			v += parts[rng.Intn(len(parts))]
		}
		if rng.Intn(5) == 0 {
			v = fmt.Sprint(rng.Intn(2)) + ":" + v
		}
		return v
	}
	list := make([][2]string, n)
	for i := range list {
		list[i] = [2]string{word(), word()}
		if i%3 == 0 {
			list[i][1] = list[i][0] + parts[rng.Intn(len(parts))]
		}
	}
	return list
}

// TestCompareVersionsLikeDpkg asks dpkg about 10,000 pairs. One call answers "lt" or "eq", so what is asked is what
// CompareVersions says, and a no is a difference: 1 is "lt" the other way round.
func TestCompareVersionsLikeDpkg(t *testing.T) {
	dpkg := oracle.Need(t, "dpkg")
	for i, list := range slices.Collect(slices.Chunk(pairs(10000), 2500)) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			askDpkg(t, dpkg, list)
		})
	}
}

func askDpkg(t *testing.T, dpkg string, list [][2]string) {
	var script strings.Builder
	for _, p := range list {
		question := []string{p[1] + "' lt '" + p[0], p[0] + "' eq '" + p[1], p[0] + "' lt '" + p[1]}[1-CompareVersions(p[0], p[1])]
		fmt.Fprintf(&script, "%s --compare-versions '%s'; echo $?\n", dpkg, question)
	}
	cmd := exec.Command("sh")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := bytes.Fields(out)
	if len(answers) != len(list) {
		t.Fatalf("%d answers to %d pairs", len(answers), len(list))
	}
	for i, p := range list {
		if string(answers[i]) != "0" {
			t.Errorf("%s and %s: dpkg does not say %d (%s)", p[0], p[1], CompareVersions(p[0], p[1]), answers[i])
		}
		if CompareVersions(p[0], p[1]) != -CompareVersions(p[1], p[0]) {
			t.Errorf("%s and %s: not antisymmetric", p[0], p[1])
		}
	}
}

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]Version{
		"1":            {Upstream: "1"},
		"2:1.0-3-4~x":  {Epoch: 2, Upstream: "1.0-3", Revision: "4~x"},
		"1.2+dfsg:3-1": {},
		"1:1:2-1":      {Epoch: 1, Upstream: "1:2", Revision: "1"},
		"0:5":          {Upstream: "5"},
		"":             {}, "-1": {}, "1-": {}, "a1": {}, ":1": {}, "x:1": {}, "1_2": {}, "1-2:3": {}, "9999999999:1": {},
	} {
		got, err := ParseVersion(in)
		if want == (Version{}) {
			if err == nil {
				t.Errorf("%q parses to %+v", in, got)
			}
		} else if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("1:2.3-4~5")
	f.Add("0")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVersion(s)
		if err != nil {
			return
		}
		if CompareVersions(v.String(), strings.TrimSpace(s)) != 0 {
			t.Errorf("%q is written as %q, which differs", s, v)
		}
	})
}
