package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/verify"
)

const recordVersion = "bake.record/1"

// record is what a bake has left in its output directory, for the next one of the same inputs: when every
// file still stands as it was left there is nothing to bake. The store keeps it under recordKey, written after
// all files are there under their names. A bake that ended badly leaves none.
type record struct {
	Result  builder.Result    `json:"result"`
	Verdict *verify.Verdict   `json:"verdict,omitempty"`
	Set     artifact.Standing `json:"set"`
}

// recordKey is of everything that decides what a bake leaves: this very program, the lock (which has the
// digests of all inputs, overlays and local files among them), the checks, which no lock has, and the directory.
func (k kitchen) recordKey(ctx context.Context) (cas.Digest, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	program, err := artifact.HashFile(ctx, self)
	if err != nil {
		return "", err
	}
	id, err := k.config.Lock.Digest()
	if err != nil {
		return "", err
	}
	out, err := filepath.Abs(k.o.out)
	if err != nil {
		return "", err
	}
	parts, err := json.Marshal([]any{recordVersion, program.SHA256, id, k.config.Profile.Profile.Checks, out})
	return cas.Of(parts), err
}

// upToDate returns what an earlier bake of the same has left, if all of it stands as it was left.
func (k kitchen) upToDate(ctx context.Context) (r record, ok bool) {
	key, err := k.recordKey(ctx)
	if err != nil || k.o.force {
		return record{}, false
	}
	text, found, err := k.config.Store.Result(key)
	if err != nil || !found || json.Unmarshal(text, &r) != nil {
		return record{}, false
	}
	now, err := r.Set.Untouched(ctx, k.o.out)
	if err != nil {
		k.env.reporter.Note("baking anew: %v", err)
		return record{}, false
	}
	if now.Boot != r.Set.Boot { // the files were read; next time they need not be
		r.Set = now
		err = k.saveRecord(key, r)
	}
	for _, name := range []*string{&r.Result.Image, &r.Result.Manifest, &r.Result.Sums, &r.Result.Console} {
		if *name != "" { // the directory may be called otherwise from where we are
			*name = filepath.Join(k.o.out, filepath.Base(*name))
		}
	}
	return r, err == nil
}

// proved says that a boot of this very image went well. Its checks are those of today: recordKey has them.
func (r record) proved() bool {
	return r.Verdict != nil && r.Verdict.OK && r.Verdict.Digest == r.Result.Digest
}

// present says again what the bake has said that left everything as it is. An image that was not booted, and
// should be, is booted: a verdict stands as long as the image that it is about.
func (k kitchen) present(ctx context.Context, r record) error {
	k.env.reporter.Note("up to date: %s is as its lock, its files and this program made it (--force bakes it again)", r.Result.Image)
	if k.boots() && !r.proved() {
		k.env.reporter.Note("it has no good verdict yet, so it is booted")
		return k.serve(ctx, r.Result)
	}
	said := baked{Result: r.Result}
	if k.boots() {
		said.Verdict = r.Verdict
	}
	k.warn(said.Lint)
	if k.env.settings.json {
		return k.env.printJSON(said)
	}
	fmt.Fprintf(k.env.stdout, "%s  %s\n", said.Digest, said.Image)
	if said.Verdict == nil {
		return nil
	}
	return k.env.printVerdict(*said.Verdict)
}

// remember keeps how everything stands that a good bake has left.
func (k kitchen) remember(ctx context.Context, said baked) error {
	key, err := k.recordKey(ctx)
	if err != nil {
		return fmt.Errorf("remembering the bake: %w", err)
	}
	r := record{Result: said.Result, Verdict: said.Verdict}
	names := writtenBy(k.config.Profile.Profile.Name)
	if r.Set, err = artifact.Stands(ctx, k.o.out, names, map[string]cas.Digest{filepath.Base(said.Image): said.Digest}); err != nil {
		return fmt.Errorf("remembering the bake: %w", err)
	}
	return k.saveRecord(key, r)
}

func (k kitchen) saveRecord(key cas.Digest, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("remembering the bake: %w", err)
	}
	return k.config.Store.SaveResult(key, text)
}
