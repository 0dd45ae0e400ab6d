package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/edgebake/edgebake/builder"
	"github.com/edgebake/edgebake/builder/artifact"
	"github.com/edgebake/edgebake/builder/guest/vm"
	"github.com/edgebake/edgebake/builder/progress"
	"github.com/edgebake/edgebake/builder/verify"
)

type bakeOptions struct {
	ingredients
	out    string
	noBoot bool
	force  bool
	jobs   int
	plain  bool
}

func newBake(env *environment) *cobra.Command {
	var o bakeOptions
	cmd := &cobra.Command{
		Use: "bake PROFILE", Short: "bake an image and prove that it boots", Args: exactly(1, "a PROFILE"),
		Long: long("bake makes the image that the profile's lock describes, boots it in QEMU on a throw-away overlay and\n"+
			"checks it inside. Stages whose inputs have not changed come from the store, and when nothing has, the image\n"+
			"stays as it is (--force bakes it anew). Into -o DIR go NAME.img,\n"+
			"manifest.json, SHA256SUMS, the verdict (verdict.json, JUnit in verdict.xml), the logs (console.log,\n"+
			"NAME.img.configure.log) and report.json, which says where the time went. With --json one document of\n"+
			"result and verdict goes to standard output, and JSON lines of progress to standard error.",
			"edgebake bake edge-rpi-debian-12 -o out\nedgebake bake my-node.yaml --set hostname=porch --no-boot"),
		ValidArgsFunction: completeProfile,
		RunE:              func(cmd *cobra.Command, args []string) error { return runBake(cmd.Context(), env, o, args[0]) },
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.out, "output", "o", "out", "directory of the artifacts")
	f.BoolVar(&o.noBoot, "no-boot", false, "do not boot the image")
	f.BoolVar(&o.force, "force", false, "bake and boot anew, also when the image in the output directory is up to date")
	f.BoolVar(&o.plain, "plain", false, "run the packages' scripts as they are: slower, for comparing the image, which must be the same")
	f.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "processors to use")
	return cmd
}

// kitchen is one bake: what it works with, and who notes how long its stages take.
type kitchen struct {
	env      *environment
	o        bakeOptions
	config   builder.Config
	recorder *progress.Recorder
	began    time.Time
}

// baked is what bake --json prints. Verdict is absent when the image was not booted.
type baked struct {
	builder.Result
	Verdict *verify.Verdict `json:"verdict,omitempty"`
}

func runBake(ctx context.Context, env *environment, o bakeOptions, name string) error {
	k := kitchen{env: env, o: o, began: time.Now(), recorder: progress.NewRecorder(env.reporter)}
	env.reporter = k.recorder // closes the one behind
	l, err := env.openLarder(ctx, o.ingredients, name, 0)
	if err != nil {
		return err
	}
	defer l.close()
	k.config = builder.Config{
		Profile: l.profile, Lock: l.lock, Store: l.store, Client: l.client, Out: o.out, Jobs: o.jobs,
		Offline: l.offline, Plain: o.plain, Report: env.reporter, Version: programVersion(),
	}
	release, err := claimForBake(o.out, writtenBy(l.profile.Profile.Name))
	if err != nil {
		return err
	}
	defer release()
	free, err := l.store.Hold(ctx) // gc of another process leaves what comes next alone
	if err != nil {
		return err
	}
	defer free()
	if r, ok := k.upToDate(ctx); ok {
		return k.present(ctx, r)
	}
	if err := k.needQEMU(); err != nil {
		return err
	}
	if err := l.unpackBundle(ctx, env.reporter); err != nil {
		return err
	}
	result, err := builder.Build(ctx, k.config)
	if err != nil {
		return err
	}
	return k.serve(ctx, result)
}

// writtenBy are the files that a bake writes, the image first.
func writtenBy(name string) []string {
	image := name + ".img"
	return []string{image, image + partial, artifact.ManifestName, artifact.SumsName, image + ".configure.log",
		lintName, verdictName, junitName, consoleName, consoleName + partial, reportName}
}

func (k kitchen) boots() bool { return !k.o.noBoot && len(k.config.Profile.Profile.Checks) > 0 }

// needQEMU asks for QEMU before anything is downloaded for it, and only when something will run in it.
func (k kitchen) needQEMU() error {
	if _, configured := k.config.ConfiguredTree(); configured && !k.boots() {
		return nil
	}
	_, _, err := vm.Find(k.config.Profile.Profile.Arch)
	return err
}

// serve proves the image and says everything about it.
func (k kitchen) serve(ctx context.Context, r builder.Result) error {
	if !k.env.settings.json {
		fmt.Fprintf(k.env.stdout, "%s  %s\n", r.Digest, r.Image) // now: the boot takes minutes
	}
	if err := dropVerdict(ctx, filepath.Dir(r.Image)); err != nil {
		return err
	}
	said := baked{Result: r}
	err := k.judge(ctx, &said)
	err = errors.Join(err, k.writeReport(r))
	if err == nil { // last: what it speaks of is there under its names
		if cause := k.remember(ctx, said); cause != nil {
			k.env.reporter.Warn("the next bake will not see that nothing has changed: %v", cause)
		}
	}
	if k.env.settings.json && (err == nil || isNegative(err)) {
		err = errors.Join(err, k.env.printJSON(said))
	}
	if err == nil {
		k.env.reporter.Note("next: %s", nextStep(k.config.Profile.Profile.Boot.Loader, r.Image))
	}
	return err
}

// judge lets the linter read the image and QEMU boot it.
func (k kitchen) judge(ctx context.Context, said *baked) (err error) {
	if err := k.examined(ctx, said.Image, said.Lint); err != nil || !k.boots() {
		return err
	}
	verdict, err := k.prove(ctx, said.Image)
	if err != nil {
		return err
	}
	said.Verdict = &verdict
	if !k.env.settings.json {
		if err := k.env.printVerdict(verdict); err != nil {
			return err
		}
	}
	return judge(verdict, said.Image)
}

// isNegative tells an image that was found bad from one that could not be examined.
func isNegative(err error) bool {
	var verdict *verdictError
	var lint *lintError
	return errors.As(err, &verdict) || errors.As(err, &lint)
}

// prove boots the image with the profile's checks.
func (k kitchen) prove(ctx context.Context, path string) (verify.Verdict, error) {
	p := k.config.Profile.Profile
	plan, done, err := bootOptions{}.plan(ctx, p.Arch)
	if err != nil {
		return verify.Verdict{}, err
	}
	defer done()
	return k.env.check(ctx, path, filepath.Dir(path), verify.CheckOptions{
		Options: plan, Checks: p.Checks, Epoch: k.config.Lock.Epoch,
	})
}

func (k kitchen) writeReport(r builder.Result) error {
	return report{
		Version: 1, Edgebake: programVersion(), Profile: k.config.Lock.Profile, Image: filepath.Base(r.Image), Digest: r.Digest,
		Seconds: seconds(time.Since(k.began)), Stages: k.recorder.Timings(), Guest: reportOf(r.Guest),
	}.write(k.o.out)
}

// nextStep is what a person does with an image that is ready.
func nextStep(loader, path string) string {
	switch loader {
	case "raspberrypi":
		return fmt.Sprintf("edgebake boot %s, or write it to a card: sudo dd if=%s of=/dev/sdX bs=4M conv=fsync (docs/card.md)", path, path)
	case "grub-efi", "grub":
		return fmt.Sprintf("edgebake boot %s, or give it to a virtual machine (docs/vm.md)", path)
	}
	return "edgebake inspect " + path
}
