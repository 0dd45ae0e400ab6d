package system

import (
	"context"
	"slices"
	"strings"

	"github.com/edgebake/edgebake/builder/tree"
)

// NormaliseChanges is Normalise for a published image in which the guest has worked: what the guest
// did not change stays as the publisher made it, and what only traces the bake is as it was before. Files
// with which dpkg and apt lock are gone (nobody holds them), and so is the journal that dpkg has worked off.
// No changed entry has a time after epoch. src is not read: the guest's clock stands at the epoch,
// so that even shadow(5) has the right day.
func NormaliseChanges(ctx context.Context, before, after tree.Tree, epoch int64) (tree.Tree, error) {
	var out []tree.Entry
	for i := range after.Len() {
		if err := ctx.Err(); err != nil {
			return tree.Tree{}, err
		}
		e := after.At(i)
		if isRemoved(e.Path) || e.Path == "etc/machine-id" {
			continue
		}
		if old, ok := before.Lookup(e.Path); !ok || old.MTime != e.MTime {
			e.MTime = notAfter(e.MTime, epoch)
		}
		out = append(out, e)
	}
	for i := range before.Len() {
		if e := before.At(i); !isStale(e.Path) && (isRemoved(e.Path) || e.Path == "etc/machine-id") {
			out = append(out, e)
		}
	}
	return tree.New(relink(after, out))
}

// Locks are the files that dpkg and apt lock, and leave behind when they are killed.
func Locks() []string {
	return []string{"var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/triggers/Lock", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"}
}

// Journal is the directory in which dpkg notes what it does to its database, until it writes that anew. It
// is empty unless dpkg was interrupted.
const Journal = "var/lib/dpkg/updates"

func isStale(name string) bool {
	return slices.Contains(Locks(), name) || strings.HasPrefix(name, Journal+"/")
}
