package tree

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/edgebake/edgebake/builder/cas"
)

// TestLinksToLinks: each link names the one before twice, so that following them one by one takes 2^30 steps.
func TestLinksToLinks(t *testing.T) {
	entries := []Entry{symlink("l0", ".")}
	for i := 1; i <= 30; i++ {
		entries = append(entries, symlink(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d/l%d", i-1, i-1)))
	}
	got, err := Merge(layer("under", build(t, entries...)), layer("over", build(t, file("l4/f", "1"))))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Lookup("f"); !ok {
		t.Errorf("the file is not where the links lead: %s", listing(got))
	}
	// Too many links end nowhere, as in the kernel (ELOOP): that is a collision, and no guess.
	if _, err := Merge(layer("under", build(t, entries...)), layer("over", build(t, file("l30/f", "1")))); err == nil {
		t.Error("more than 40 links are followed")
	}
}

// TestTarLimits: names and attributes that would fill memory.
func TestTarLimits(t *testing.T) {
	long := strings.Repeat("x", 5000)
	var many []tar.Header
	for i := range 17 {
		many = append(many, tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 1<<20-100)}})
	}
	for name, tt := range map[string]struct {
		headers []tar.Header
		want    string
	}{
		"name":       {[]tar.Header{{Name: long, Typeflag: tar.TypeReg}}, "its name has 5000 bytes"},
		"link":       {[]tar.Header{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: long}}, "its link 5000"},
		"attributes": {many, "more than the allowed 1048576 members or 16777216 bytes of attributes"},
	} {
		raw := writeTar(t, tt.headers...)
		_, err := FromTar(cas.Of(raw), bytes.NewReader(raw), int64(len(raw)))
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 1000 {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
