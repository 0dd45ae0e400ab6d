package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/durable"
	"github.com/edgebake/edgebake/builder/guest"
	"github.com/edgebake/edgebake/builder/progress"
)

// reportName is the file beside an image that says where the time of its bake went. It differs from
// bake to bake, so neither the manifest nor SHA256SUMS knows it.
const reportName = "report.json"

// report is the content of report.json.
type report struct {
	Version  int        `json:"version"` // of this format: 1
	Edgebake string     `json:"edgebake"`
	Profile  string     `json:"profile"`
	Image    string     `json:"image"`
	Digest   cas.Digest `json:"digest"`
	// Seconds is the time from the beginning of the bake to the end of its last stage.
	Seconds float64           `json:"seconds"`
	Stages  []progress.Timing `json:"stages"`
	// Guest is absent when the configured packages came from the store.
	Guest *guestReport `json:"guest,omitempty"`
}

// guestReport says where the time inside the guest went.
type guestReport struct {
	BootSeconds float64 `json:"bootSeconds"`
	Seconds     float64 `json:"seconds"`
	// Scripts are in the order in which they ran.
	Scripts []scriptReport `json:"scripts"`
}

type scriptReport struct {
	Package string  `json:"package"`
	Script  string  `json:"script"`
	Seconds float64 `json:"seconds"`
}

func reportOf(g guest.Result) *guestReport {
	if g.Total == 0 {
		return nil
	}
	out := &guestReport{BootSeconds: seconds(g.Boot), Seconds: seconds(g.Total)}
	for _, p := range g.Packages {
		out.Scripts = append(out.Scripts, scriptReport{p.Package, p.Script, seconds(p.Duration)})
	}
	return out
}

// seconds are rounded to milliseconds.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

func (r report) write(dir string) error {
	for i := range r.Stages {
		r.Stages[i].Seconds = seconds(time.Duration(r.Stages[i].Seconds * float64(time.Second)))
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = durable.WriteFile(filepath.Join(dir, reportName), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing report of the bake: %w", err)
	}
	return nil
}
