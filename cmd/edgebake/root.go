package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/builder/progress"
)

// environment is what every command gets: the streams and the settings.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	settings       settings
	reporter       progress.Reporter
}

// settings are the global flags, after the environment and the configuration file were put below them.
type settings struct {
	json, quiet, verbose bool
	offline              bool
	store, config        string
	mirrors              []string // PREFIX=URL
	trust                []trust
}

// configFile is the content of the configuration file.
type configFile struct {
	Store   string   `yaml:"store"`
	Mirrors []string `yaml:"mirrors"`
	Offline bool     `yaml:"offline"`
	Trust   []trust  `yaml:"trust"`
}

const rootLong = `edgebake bakes immutable, bootable images for edge nodes from YAML profiles: without root,
loop devices, mounts or chroots, byte for byte reproducible, and proved by booting them in QEMU.

A PROFILE is the name of a built-in profile (edgebake profiles) or the path of a YAML file.
Results go to standard output; progress and messages go to standard error.

Settings come from flags, then from the environment (EDGEBAKE_STORE, EDGEBAKE_OFFLINE=1,
EDGEBAKE_MIRRORS="PREFIX=URL ...", EDGEBAKE_CONFIG), then from the configuration file:

  store: /var/cache/edgebake
  offline: false
  mirrors:
    - http://ftp.debian.org/debian=http://mirror.example.org/debian
  trust: # keys of mirrors that sign anew, for what begins with prefix
    - prefix: http://ftp.debian.org/debian
      keyring: /etc/edgebake/mirror.gpg
      fingerprints: [0123456789ABCDEF0123456789ABCDEF01234567]

` + exitCodes

func newRoot(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use: "edgebake", Short: "bake bootable images for edge nodes, and prove them", Long: rootLong,
		SilenceErrors: true, SilenceUsage: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return env.prepare(cmd) },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	s, flags := &env.settings, root.PersistentFlags()
	flags.BoolVar(&s.json, "json", false, "results and progress as JSON")
	flags.BoolVarP(&s.quiet, "quiet", "q", false, "warnings and faults only")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "say more")
	flags.StringVar(&s.store, "store", "", "directory of the store (default: below the user's cache directory)")
	flags.BoolVar(&s.offline, "offline", false, "open no socket: use what is in the store")
	flags.StringArrayVar(&s.mirrors, "mirror", nil, "fetch what begins with PREFIX from URL: PREFIX=URL (repeatable)")
	flags.StringVar(&s.config, "config", "", "configuration file (default ~/.config/edgebake/config.yaml)")
	root.AddCommand(commands(env)...)
	return root
}

// prepare completes the settings; it runs before every command.
func (env *environment) prepare(cmd *cobra.Command) error {
	s := &env.settings
	if s.quiet && s.verbose {
		return usagef("--quiet and --verbose exclude each other")
	}
	file, err := env.readConfig()
	if err != nil {
		return err
	}
	if s.store == "" {
		s.store = firstSet(env.getenv("EDGEBAKE_STORE"), file.Store, cas.DefaultDir(env.getenv))
	}
	// Earlier prefixes win, so what is nearer to the person comes first.
	s.mirrors = append(s.mirrors, strings.Fields(env.getenv("EDGEBAKE_MIRRORS"))...)
	s.mirrors = append(s.mirrors, file.Mirrors...)
	for _, m := range s.mirrors {
		if prefix, url, ok := strings.Cut(m, "="); !ok || prefix == "" || url == "" {
			return usagef("reading mirror %q: it is not PREFIX=URL", m)
		}
	}
	s.trust = file.Trust
	if !cmd.Flags().Changed("offline") {
		s.offline, err = boolean("EDGEBAKE_OFFLINE", env.getenv("EDGEBAKE_OFFLINE"), file.Offline)
	}
	env.reporter = progress.New(env.stderr, progress.Options{
		JSON: s.json, Quiet: s.quiet, Verbose: s.verbose, Terminal: isTerminal(env.stderr),
	})
	return err
}

func boolean(name, value string, otherwise bool) (bool, error) {
	switch strings.ToLower(value) {
	case "":
		return otherwise, nil
	case "1", "true", "yes":
		return true, nil
	case "0", "false", "no":
		return false, nil
	}
	return false, usagef("reading %s: %q is neither 1 nor 0", name, value)
}

func firstSet(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// readConfig reads the configuration file. The default one may be absent.
func (env *environment) readConfig() (configFile, error) {
	path := firstSet(env.settings.config, env.getenv("EDGEBAKE_CONFIG"))
	named := path != ""
	if !named {
		dir := firstSet(env.getenv("XDG_CONFIG_HOME"), filepath.Join(env.getenv("HOME"), ".config"))
		path = filepath.Join(dir, "edgebake", "config.yaml")
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return configFile{}, nil
	}
	if err != nil {
		return configFile{}, usagef("reading configuration: %w", err)
	}
	var c configFile
	if err := yaml.UnmarshalWithOptions(text, &c, yaml.Strict()); err != nil && !errors.Is(err, io.EOF) {
		return configFile{}, usagef("reading configuration %s: %s", path, yaml.FormatError(err, false, true))
	}
	return c, nil
}

// close ends the reporter.
func (env *environment) close() {
	if env.reporter != nil {
		_ = progress.Close(env.reporter) // what it could not draw is lost either way
	}
}

// openStore opens the store of the settings.
func (env *environment) openStore() (*cas.Store, error) {
	store, err := cas.Open(env.settings.store)
	if err == nil {
		store.OnDamage(func(e *cas.DamagedError) { env.reporter.Warn("%v", e) })
	}
	return store, err
}

// printJSON writes one result.
func (env *environment) printJSON(v any) error {
	enc := json.NewEncoder(env.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing result: %w", err)
	}
	return nil
}

// faults prints the faults of a profile as the result when JSON is asked for.
func (env *environment) faults(err error) error {
	var faults *profile.FaultsError
	if env.settings.json && errors.As(err, &faults) {
		if err := env.printJSON(faults); err != nil {
			return err
		}
	}
	return err
}

// long makes a command's long help from its text, an example and the exit codes.
func long(text, example string) string {
	return text + "\n\nExample:\n  " + strings.ReplaceAll(example, "\n", "\n  ") + "\n\n" + exitCodes
}
