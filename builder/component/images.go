package component

import (
	"context"

	"github.com/edgebake/edgebake/builder/lock"
)

// imageRequest is one container image that a component wants.
type imageRequest struct{ name string }

func (k Kit) pinImages(context.Context, []imageRequest) ([]lock.Image, error) { return nil, nil }

func (k Kit) fetchImages(context.Context, []imageRequest, []lock.Image) error { return nil }
