package builder

import (
	"context"
	"fmt"

	"github.com/edgebake/edgebake/builder/component"
	"github.com/edgebake/edgebake/builder/lock"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/tree"
)

func (c Config) components(ctx context.Context) ([]tree.Layer, progress.Outcome, error) {
	var layers []tree.Layer
	outcome := progress.Outcome{Cached: true}
	goCommand := component.Go{Offline: c.Offline}
	for _, want := range c.Profile.Profile.Components {
		pin, ok := componentPin(c.Lock, want.Name)
		if !ok {
			return nil, outcome, fmt.Errorf("building component %s: the lock has no such component; lock again", want.Name)
		}
		t, cached, err := goCommand.Build(ctx, c.Store, want, pin, c.Lock.Arch, c.Lock.Epoch)
		if err != nil {
			return nil, outcome, err
		}
		outcome.Cached = outcome.Cached && cached
		layers = append(layers, tree.Layer{Name: "component " + want.Name, Tree: t})
	}
	return layers, outcome, nil
}

func componentPin(l lock.Lock, name string) (lock.Component, bool) {
	for _, c := range l.Components {
		if c.Name == name {
			return c, true
		}
	}
	return lock.Component{}, false
}
