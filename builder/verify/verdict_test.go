package verify_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/verify"
)

var update = flag.Bool("update", false, "write the golden files (and fail)")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s was written", path)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s: %s", path, d)
	}
}

func TestVerdictGoldens(t *testing.T) {
	good := verify.Verdict{
		Version: 1, Image: "edge.img", Digest: cas.Of([]byte("edge")), Arch: "arm64", Board: "virt", QEMU: "7.2.22", Accel: "tcg", OK: true,
		Cmdline: "console=ttyAMA0 root=LABEL=writable", Seconds: 81.5,
		Milestones: []verify.Milestone{{Name: "kernel", Seconds: 1.2}, {Name: "multi-user", Seconds: 44}},
		Checks:     []verify.Result{{Name: "multi-user", OK: true, Detail: "after 40 s"}, {Name: "clock", OK: true}},
	}
	bad := good
	bad.OK, bad.Reason = false, `the boot ended after milestone "kernel" at 1 s: the time limit of 20m0s is over`
	bad.Milestones = bad.Milestones[:1]
	bad.Checks = []verify.Result{{Name: "multi-user", Detail: "not reported"}, {Name: "clock", Detail: `<&">`}}
	bad.LastLines = []string{"[    1.0] waiting for root", "\x07bell"}
	for name, v := range map[string]verify.Verdict{"good": good, "bad": bad} {
		asJSON, err := v.JSON()
		if err != nil {
			t.Fatal(err)
		}
		asXML, err := v.JUnit()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", asJSON)
		golden(t, name+".xml", asXML)
		golden(t, name+".txt", []byte(v.String()))
	}
}
