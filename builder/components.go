package builder

import (
	"context"

	"github.com/edgebake/edgebake/builder/component"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

// kit is what the profile's components are made with.
func (c Config) kit() component.Kit {
	return component.Kit{Store: c.Store, Client: c.Client, Profile: c.Profile, Go: component.Go{Offline: c.Offline}, Report: c.Report}
}

func (c Config) components(ctx context.Context) ([]tree.Layer, progress.Outcome, error) {
	layers, cached, err := c.kit().Build(ctx, c.Lock)
	return layers, progress.Outcome{Cached: cached}, err
}
