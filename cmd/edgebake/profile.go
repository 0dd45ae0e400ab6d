package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/profiles"
)

// setFlag are the values of --set.
type setFlag []string

func (s *setFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar((*[]string)(s), "set", nil, "replace a variable of the profile: key=value (repeatable)")
}

// load loads the profile that the command line names.
func (s setFlag) load(ctx context.Context, name string) (profile.Loaded, error) {
	set := map[string]string{}
	for _, pair := range s {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return profile.Loaded{}, usagef("reading --set %q: it is not key=value", pair)
		}
		set[key] = value
	}
	l, err := profile.Load(ctx, profile.Options{Name: name, Set: set})
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) {
		return l, &usageError{err} // the command line names it, or another profile
	}
	return l, err
}

// completeProfile offers the built-in names, and files.
func completeProfile(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := profiles.Names() // they are compiled in
	return names, cobra.ShellCompDirectiveDefault
}

func newValidate(env *environment) *cobra.Command {
	var set setFlag
	cmd := &cobra.Command{
		Use: "validate PROFILE", Short: "say everything that is wrong with a profile", Args: exactly(1, "a PROFILE"),
		Long: long("validate loads a profile with everything that it extends, and prints all faults at once, with\n"+
			"file, line, column and an excerpt. It uses no network.", "edgebake validate my-node.yaml"),
		ValidArgsFunction: completeProfile,
		RunE:              func(cmd *cobra.Command, args []string) error { return runValidate(cmd.Context(), env, set, args[0]) },
	}
	set.add(cmd)
	return cmd
}

func runValidate(ctx context.Context, env *environment, set setFlag, name string) error {
	l, err := set.load(ctx, name)
	if err != nil {
		return env.faults(err)
	}
	if env.settings.json {
		return env.printJSON(map[string]any{"name": l.Profile.Name, "faults": []profile.Fault{}})
	}
	fmt.Fprintf(env.stdout, "%s is valid (%d files)\n", l.Profile.Name, len(l.Sources))
	return nil
}

func newShow(env *environment) *cobra.Command {
	var set setFlag
	cmd := &cobra.Command{
		Use: "show PROFILE", Short: "print the effective profile and where each value comes from", Args: exactly(1, "a PROFILE"),
		Long: long("show prints the profile as it is after extends, variables and defaults: YAML that loads again, each\n"+
			"value with a comment that says which file and line gave it.", "edgebake show edge-rpi-debian-12 --set hostname=porch"),
		ValidArgsFunction: completeProfile,
		RunE:              func(cmd *cobra.Command, args []string) error { return runShow(cmd.Context(), env, set, args[0]) },
	}
	set.add(cmd)
	return cmd
}

func runShow(ctx context.Context, env *environment, set setFlag, name string) error {
	l, err := set.load(ctx, name)
	if err != nil {
		return env.faults(err)
	}
	if env.settings.json {
		return env.printJSON(map[string]any{"profile": l.Profile, "sources": l.Sources, "origins": originStrings(l)})
	}
	return profile.Show(env.stdout, l)
}

func originStrings(l profile.Loaded) map[string]string {
	out := make(map[string]string, len(l.Origins))
	for path, at := range l.Origins {
		out[path] = at.String()
	}
	return out
}

func newProfiles(env *environment) *cobra.Command {
	return &cobra.Command{
		Use: "profiles", Short: "list the built-in profiles", Args: exactly(0, ""),
		Long: long("profiles lists what is built in. Abstract profiles are only meant to be extended.", "edgebake profiles"),
		RunE: func(cmd *cobra.Command, _ []string) error { return runProfiles(cmd.Context(), env) },
	}
}

// listed is one line of the list.
type listed struct {
	Name     string `json:"name"`
	Arch     string `json:"arch,omitempty"`
	Abstract bool   `json:"abstract,omitempty"`
	Summary  string `json:"summary,omitempty"`
}

func runProfiles(ctx context.Context, env *environment) error {
	names, err := profiles.Names()
	if err != nil {
		return err
	}
	list := make([]listed, 0, len(names))
	for _, name := range names {
		l, err := profile.Load(ctx, profile.Options{Name: name})
		if err != nil {
			return err
		}
		list = append(list, listed{name, l.Profile.Arch, l.Profile.Abstract, l.Profile.Summary})
	}
	if env.settings.json {
		return env.printJSON(list)
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	for _, p := range list {
		arch := p.Arch
		if p.Abstract {
			arch = "abstract"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, arch, p.Summary)
	}
	return w.Flush()
}
