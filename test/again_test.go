package test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/edgebake/edgebake/builder/disk"
)

// everything is what a profile can say about an image besides packages and components.
const everything = "disk: {size: 120MiB, noDelayedAllocation: true}\n" + everythingButDisk

const everythingButDisk = `hostname: edge
sysctls: {vm.overcommit_memory: 1}
modules: [overlay]
services: {mask: [swap.target]}
overlays: [edge-ubuntu]
`

// TestBakeOverItself bakes from the image that the profile has made: both are the same, byte for byte.
func TestBakeOverItself(t *testing.T) {
	for _, table := range []string{disk.MBR, disk.GPT} {
		t.Run(table, func(t *testing.T) {
			w := newWorkshop(t, program(t), guestKernel())
			bakeFrom := func(name string, data []byte) []byte {
				w.onBase(name, data, everything)
				w.ends(0, w.based("lock"))
				out := filepath.Join(w.dir, name+".out")
				w.ends(0, w.based("bake", "--no-boot", "-o", out))
				return read(t, filepath.Join(out, "node.img"))
			}
			base := published(t, table, piFiles())
			first := bakeFrom("base.img", base)
			if bytes.Equal(first, base) {
				t.Fatal("the profile changes nothing")
			}
			if again := bakeFrom("baked.img", first); !bytes.Equal(first, again) {
				t.Error("the image has changed")
			}
		})
	}
}
