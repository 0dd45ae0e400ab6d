package builder

import "github.com/edgebake/edgebake/builder/tree"

// ConfiguredTree returns the packages' files as their scripts left them, without components,
// overlays and settings, when the store has them. Only Lock and Store of c are used.
func (c Config) ConfiguredTree() (tree.Tree, bool) {
	key, err := c.configureKey()
	if err != nil {
		return tree.Tree{}, false
	}
	return tree.Saved(c.Store, key)
}
