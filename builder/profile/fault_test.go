package profile_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/edgebake/edgebake/builder/profile"
)

func faults(t *testing.T, o profile.Options) *profile.FaultsError {
	t.Helper()
	_, err := profile.Load(context.Background(), o)
	var out *profile.FaultsError
	if !errors.As(err, &out) {
		t.Fatalf("loading %s gives %v, and no faults", o.Name, err)
	}
	return out
}

// Each file of testdata/faults has several faults; all are in its golden. To write them anew:
// go test ./builder/profile -run Golden -args update
func TestFaultsGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		got := faults(t, profile.Options{Name: file}).Error() + "\n"
		golden := strings.TrimSuffix(file, ".yaml") + ".txt"
		if flag.Arg(0) == "update" {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: golden (-) and now (+):\n%s", file, diff)
		}
	}
}

func TestUnknownVariableAndProfile(t *testing.T) {
	e := faults(t, profile.Options{Name: "edge-rpi-debian-12", Set: map[string]string{"sise": "8GiB"}})
	if len(e.Faults) != 1 || e.Faults[0].Suggestion != "size" {
		t.Errorf("%+v", e.Faults)
	}
	e = faults(t, profile.Options{Name: "edge-rpi-debain-12"})
	if e.Faults[0].Suggestion != "edge-rpi-debian-12" {
		t.Errorf("%+v", e.Faults)
	}
	_, err := profile.Load(context.Background(), profile.Options{Name: "./nowhere.yaml"})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that is not there gives %v", err)
	}
}
