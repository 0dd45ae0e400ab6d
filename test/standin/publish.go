package standin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Signing is who signs a list of hashes, and who else did whose keys nobody has.
type Signing struct {
	Key     Key
	Unknown []Key
}

// Pi makes and publishes the image, where it is and where it moves when it is superseded. xz is the path
// of that tool: livecd-rootfs runs "xz -0 -T4", which gives one stream of many blocks.
func (u *Upstream) Pi(ctx context.Context, b Base, p Pi, dir, xz string, s Signing) error {
	raw, err := p.Write(ctx, b, dir)
	if err != nil {
		return err
	}
	if err := tool(ctx, xz, "-0", "-T4", raw); err != nil {
		return err
	}
	for _, url := range []string{p.URL(), "https://old-releases.ubuntu.com/releases/" + p.Point + "/" + p.Name() + ".xz"} {
		if err := errors.Join(u.Link(url, raw+".xz"), u.Sign(s.Key, s.Unknown, url)); err != nil {
			return err
		}
	}
	return nil
}

// Cloud makes and publishes the image as a qcow2 of version 2. qemuImg is the path of that tool.
func (u *Upstream) Cloud(ctx context.Context, b Base, c Cloud, dir, qemuImg string, s Signing) error {
	raw, err := c.Write(ctx, b, dir)
	if err != nil {
		return err
	}
	image := strings.TrimSuffix(raw, ".raw")
	if err := tool(ctx, qemuImg, "convert", "-c", "-O", "qcow2", "-o", "compat=0.10", raw, image); err != nil {
		return err
	}
	if err := os.Remove(raw); err != nil {
		return err
	}
	for _, url := range c.URLs() {
		if err := errors.Join(u.Link(url, image), u.Sign(s.Key, s.Unknown, url)); err != nil {
			return err
		}
	}
	return nil
}

func tool(ctx context.Context, path string, args ...string) error {
	if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("running %s %s: %w\n%s", path, strings.Join(args, " "), err, out)
	}
	return nil
}
