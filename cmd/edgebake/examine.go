package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/durable"
	"github.com/edgebake/edgebake/builder/lint"
)

const lintName = "lint.json"

// examined says what the linter found, before minutes are spent on booting, and puts lint.json beside the
// image. An image with errors is a negative verdict.
func (k kitchen) examined(ctx context.Context, path string, report lint.Report) error {
	k.warn(report)
	text, err := report.JSON()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(k.o.out, lintName), text); err != nil {
		return fmt.Errorf("writing what the linter found: %w", err)
	}
	if err := artifact.UpdateSums(ctx, k.o.out, lintName); err != nil {
		return err
	}
	if !report.OK {
		fmt.Fprint(k.env.stderr, report)
		return &lintError{path, report.Errors()}
	}
	return nil
}

// warn tells of the findings of an image that is in order all the same.
func (k kitchen) warn(report lint.Report) {
	for _, f := range report.Findings {
		if report.OK { // otherwise all of them follow, with their fixes
			k.env.reporter.Warn("%s: %s: %s", f.Rule, f.Path, f.Why)
		}
	}
}
