package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/image"
	"github.com/edgebake/edgebake/builder/lint"
)

// lintError says that the linter found an image bad.
type lintError struct {
	image  string
	errors int
}

func (e *lintError) Error() string {
	return fmt.Sprintf("examining %s: %d of the findings are errors", e.image, e.errors)
}

type lintOptions struct {
	rules      []string
	booted     bool
	role, arch string
}

func newLint(env *environment) *cobra.Command {
	var o lintOptions
	cmd := &cobra.Command{
		Use: "lint IMAGE", Short: "examine an image without starting it", Args: exactly(1, "one image"),
		Long: long("lint reads a raw image and names what will not work on a node, and what must not be given away: each with\n"+
			"the path, why, and the fix. It exits with 5 when there is an error among the findings. With --booted it reads\n"+
			"the disk of a node that has run: what every boot leaves there (identity, logs, locks, the node's own keys) is\n"+
			"no finding, a token that was to be scrubbed still is.\n\nRules:\n"+ruleTable(),
			"edgebake lint edge.img\nedgebake lint edge.img --rules kernel,cgroup-flags --role edge\nedgebake lint card.img --booted"),
		RunE: func(cmd *cobra.Command, args []string) error { return runLint(cmd.Context(), env, o, args[0]) },
	}
	cmd.Flags().StringSliceVar(&o.rules, "rules", nil, "apply these rules only, by name, separated by commas")
	cmd.Flags().BoolVar(&o.booted, "booted", false, "the image has run as a node: its identity, logs and own keys are in order")
	cmd.Flags().StringVar(&o.role, "role", string(lint.Any), "what the node is for: edge, master, or any to find out from the image")
	cmd.Flags().StringVar(&o.arch, "arch", "", "architecture that the image is for (default: what dpkg's database says)")
	return cmd
}

func ruleTable() string {
	var b strings.Builder
	for _, r := range lint.Rules() {
		fmt.Fprintf(&b, "  %-17s %s\n", r.ID, r.Summary)
	}
	return strings.TrimRight(b.String(), "\n")
}

func runLint(ctx context.Context, env *environment, o lintOptions, name string) error {
	if !slices.Contains(lint.Roles(), lint.Role(o.role)) {
		return usagef("%q is none of the roles edge, master and any", o.role)
	}
	img, err := image.Open(name)
	if err != nil {
		return err
	}
	defer img.Close()
	report, err := lint.Run(ctx, img, lint.Options{Rules: o.rules, Booted: o.booted, Role: lint.Role(o.role), Arch: o.arch})
	var unknown *lint.UnknownRuleError
	switch {
	case errors.As(err, &unknown):
		return &usageError{err}
	case err != nil:
		return err
	case env.settings.json:
		err = env.printJSON(report)
	default:
		fmt.Fprint(env.stdout, report)
	}
	if err == nil && !report.OK {
		return &lintError{name, report.Errors()}
	}
	return err
}
