package main

import (
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/fetch"
)

// newClient makes the downloader that the settings describe. It rewrites addresses itself, so
// everything above it knows upstream's alone.
func (env *environment) newClient(store *cas.Store, jobs int) (*fetch.Client, error) {
	cfg := fetch.Config{
		Store: store, Offline: env.settings.offline, Jobs: jobs, Reporter: env.reporter,
		UserAgent: "edgebake/" + programVersion(),
	}
	for _, text := range env.settings.mirrors {
		m, err := fetch.ParseMirror(text)
		if err != nil {
			return nil, &usageError{err}
		}
		cfg.Mirrors = append(cfg.Mirrors, m)
	}
	var err error
	if cfg.AptSources, err = fetch.HostSources("/"); err != nil {
		return nil, err
	}
	return fetch.New(cfg), nil
}
