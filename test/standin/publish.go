package standin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/edgebake/edgebake/builder/cas"
	"github.com/edgebake/edgebake/builder/tree"
)

// Signing is who signs a list of hashes, and who else did whose keys nobody has.
type Signing struct {
	Key     Key
	Unknown []Key
}

// Pi makes and publishes the image, where it is and where it moves when it is superseded. xz is the path
// of that tool: livecd-rootfs runs "xz -0 -T4", which gives one stream of many blocks. What dir has from an
// earlier call with equal contents is not made again.
func (u *Upstream) Pi(ctx context.Context, b Base, p Pi, dir, xz string, s Signing) error {
	root, boot, err := p.trees(ctx, b)
	if err != nil {
		return fmt.Errorf("dressing the Raspberry Pi stand-in: %w", err)
	}
	name, err := keyed(dir, p, root, boot)
	if err != nil {
		return err
	}
	raw, packed := name+".img", name+".img.xz"
	err = made(packed, func(temp string) error {
		if err := p.write(ctx, b, raw, root, boot); err != nil {
			return err
		}
		return errors.Join(toolTo(ctx, temp, xz, "-0", "-T4", "--stdout", raw), os.Remove(raw))
	})
	if err != nil {
		return err
	}
	return u.Publish(packed, s, p.URL(), "https://old-releases.ubuntu.com/releases/"+p.Point+"/"+p.Name()+".xz")
}

// Cloud makes and publishes the image as a qcow2 of version 2. qemuImg is the path of that tool. What dir
// has from an earlier call is not made again.
func (u *Upstream) Cloud(ctx context.Context, b Base, c Cloud, dir, qemuImg string, s Signing) error {
	root, esp, err := c.trees(ctx, b)
	if err != nil {
		return fmt.Errorf("dressing the cloud stand-in: %w", err)
	}
	name, err := keyed(dir, c.Sectors, root, esp)
	if err != nil {
		return err
	}
	raw, packed := name+".raw", name+".qcow2"
	err = made(packed, func(temp string) error {
		if err := c.write(ctx, b, raw, root, esp); err != nil {
			return err
		}
		return errors.Join(tool(ctx, qemuImg, "convert", "-c", "-O", "qcow2", "-o", "compat=0.10", raw, temp), os.Remove(raw))
	})
	if err != nil {
		return err
	}
	return u.Publish(packed, s, c.URLs()...)
}

// Publish puts a file that stays where it is under URLs, each in a directory of its own with a signed
// list of hashes.
func (u *Upstream) Publish(file string, s Signing, urls ...string) error {
	for _, url := range urls {
		if err := errors.Join(u.Link(url, file), u.Sign(s.Key, s.Unknown, url)); err != nil {
			return err
		}
	}
	return nil
}

// keyed names files in dir after what an image is made of.
func keyed(dir string, options any, trees ...tree.Tree) (string, error) {
	key := fmt.Sprintf("%+v", options)
	for _, t := range trees {
		d, err := tree.Digest(t)
		if err != nil {
			return "", err
		}
		key += " " + string(d)
	}
	return filepath.Join(dir, cas.Of([]byte(key)).Short()), os.MkdirAll(dir, 0o755)
}

// made calls build for a file that is not there; the file appears when it is whole.
func made(path string, build func(temp string) error) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := build(path + ".partial"); err != nil {
		return err
	}
	return os.Rename(path+".partial", path)
}

// toolTo runs a tool and keeps what it prints in a file.
func toolTo(ctx context.Context, file, path string, args ...string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = f, &stderr
	if err := errors.Join(cmd.Run(), f.Close()); err != nil {
		return fmt.Errorf("running %s %s: %w\n%s", path, strings.Join(args, " "), err, stderr.String())
	}
	return nil
}

func tool(ctx context.Context, path string, args ...string) error {
	if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("running %s %s: %w\n%s", path, strings.Join(args, " "), err, out)
	}
	return nil
}
