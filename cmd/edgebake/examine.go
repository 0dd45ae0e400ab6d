package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lint"
	"github.com/edgebake/edgebake/builder/progress"
)

const lintName = "lint.json"

// examine runs the linter over a baked image, before minutes are spent on booting it, and puts
// lint.json beside it. An image with errors is a negative verdict.
func (k kitchen) examine(ctx context.Context, path string) (lint.Report, error) {
	done := k.env.reporter.Stage("lint")
	report, err := lintImage(ctx, path, k.config.Profile.Profile.Arch)
	done(progress.Outcome{Note: fmt.Sprintf("%d findings", len(report.Findings)), Err: err})
	if err != nil {
		return report, err
	}
	for _, f := range report.Findings {
		if report.OK { // otherwise all of them follow, with their fixes
			k.env.reporter.Warn("%s: %s: %s", f.Rule, f.Path, f.Why)
		}
	}
	text, err := report.JSON()
	if err != nil {
		return report, err
	}
	if err := os.WriteFile(filepath.Join(k.o.out, lintName), text, 0o644); err != nil {
		return report, fmt.Errorf("writing what the linter found: %w", err)
	}
	if err := artifact.UpdateSums(ctx, k.o.out, lintName); err != nil {
		return report, err
	}
	if !report.OK {
		fmt.Fprint(k.env.stderr, report)
		return report, &lintError{path, report.Errors()}
	}
	return report, nil
}

func lintImage(ctx context.Context, path, arch string) (lint.Report, error) {
	img, err := image.Open(path)
	if err != nil {
		return lint.Report{}, err
	}
	defer img.Close()
	return lint.Run(ctx, img, lint.Options{Arch: arch})
}
