package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// config is what the files of a system say: values by table and key, with a dot between.
type config struct {
	root   string
	values map[string]string
}

func (c config) get(key, otherwise string) string {
	if v, ok := c.values[key]; ok {
		return v
	}
	return otherwise
}

// load reads crio.conf, its drop-ins in the order of their names, and storage.conf.
func load(root string) (config, error) {
	c := config{root: root, values: map[string]string{}}
	files := []string{c.path("/etc/crio/crio.conf")}
	dropIns, err := filepath.Glob(c.path("/etc/crio/crio.conf.d/*"))
	if err != nil {
		return c, err
	}
	slices.Sort(dropIns)
	for _, file := range append(append(files, dropIns...), c.path("/etc/containers/storage.conf")) {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = c.parse(string(text))
		}
		if err != nil {
			return c, fmt.Errorf("reading %s: %w", file, err)
		}
	}
	return c, nil
}

func (c config) path(name string) string { return filepath.Join(c.root, name) }

// parse reads the TOML that these files are written in: tables, and keys with strings, numbers,
// booleans or lists of strings.
func (c config) parse(text string) error {
	table, open := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if open != "" {
			line = open + line
		}
		if open = ""; strings.Contains(line, "=") && strings.Count(line, "[") > strings.Count(line, "]") {
			open = line
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok && open == "" && strings.HasSuffix(name, "]") && !strings.Contains(line, "=") {
			table = strings.TrimSuffix(name, "]")
			c.values[table] = ""
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("line %q is no table and no key", line)
		}
		c.values[table+"."+strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"`)
	}
	return nil
}

// list splits a value that is a list of strings.
func list(value string) []string {
	var out []string
	for _, item := range strings.Split(strings.Trim(value, "[] "), ",") {
		if item = strings.Trim(strings.TrimSpace(item), `"`); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// check refuses what CRI-O refuses at its start.
func (c config) check(kernel string) error {
	return errors.Join(c.checkStorage(kernel), c.checkRuntime(), c.checkCgroups())
}

func (c config) checkStorage(kernel string) error {
	mount := c.get("storage.options.overlay.mountopt", c.get("storage.options.mountopt", ""))
	if option := list(c.get("crio.storage_option", "")); len(option) > 0 {
		mount = strings.Join(option, ",") // replaces what storage.conf says
	}
	if strings.Contains(mount, "metacopy=on") && olderThan(kernel, 4, 19) {
		return fmt.Errorf("mounting overlay with options %q: metacopy: invalid argument (kernel %s)", mount, strings.TrimSpace(kernel))
	}
	for _, store := range c.stores() {
		for _, file := range []string{"overlay-images/images.lock", "overlay-layers/layers.lock"} {
			if _, err := os.Stat(c.path(filepath.Join(store, file))); err != nil {
				return fmt.Errorf("opening additional image store: %w", err)
			}
		}
	}
	return nil
}

func (c config) stores() []string { return list(c.get("storage.options.additionalimagestores", "")) }

func olderThan(kernel string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(kernel, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < major || a == major && b < minor
}

func (c config) checkRuntime() error {
	name := c.get("crio.runtime.default_runtime", "runc")
	table := "crio.runtime.runtimes." + name
	if _, ok := c.values[table]; !ok && name != "runc" { // runc has a table by default
		return fmt.Errorf("default_runtime set to %q, but no runtime entry in the configuration", name)
	}
	if err := c.executable("runtime "+name, c.get(table+".runtime_path", ""), name); err != nil {
		return err
	}
	return c.executable("conmon", c.get("crio.runtime.conmon", ""), "conmon")
}

// executable finds a program by its path, or by its name in PATH when the path is empty.
func (c config) executable(what, path, name string) error {
	candidates := []string{path}
	if path == "" {
		candidates = []string{"/usr/local/sbin/" + name, "/usr/local/bin/" + name, "/usr/sbin/" + name, "/usr/bin/" + name}
	}
	for _, p := range candidates {
		if info, err := os.Stat(c.path(p)); err == nil && info.Mode()&0o111 != 0 {
			return nil
		}
	}
	return fmt.Errorf("finding %s: %v: no executable file", what, candidates)
}

func (c config) checkCgroups() error {
	manager, conmon := c.get("crio.runtime.cgroup_manager", "systemd"), c.get("crio.runtime.conmon_cgroup", "system.slice")
	if manager == "cgroupfs" && conmon != "pod" {
		return errors.New("conmon_cgroup must be \"pod\" when cgroup_manager is cgroupfs")
	}
	return nil
}

// network loads the first configuration by name, and says why pods would have no network.
func (c config) network() (reason string) {
	dir := c.get("crio.network.network_dir", "/etc/cni/net.d/")
	var files []string
	for _, pattern := range []string{"*.conf", "*.conflist", "*.json"} {
		found, _ := filepath.Glob(c.path(filepath.Join(dir, pattern))) // the patterns are constants
		files = append(files, found...)
	}
	slices.Sort(files)
	if len(files) == 0 {
		return "no CNI configuration file in " + dir + ". Has your network provider started?"
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		return err.Error()
	}
	return c.plugins(files[0], data)
}

// plugins checks that the plugins of a configuration are there.
func (c config) plugins(file string, data []byte) string {
	type plugin struct{ Type string }
	var conf struct {
		plugin
		Plugins []plugin
	}
	if err := json.Unmarshal(data, &conf); err != nil {
		return fmt.Sprintf("reading %s: %v", file, err)
	}
	if conf.Type != "" {
		conf.Plugins = append(conf.Plugins, conf.plugin)
	}
	dirs := append(list(c.get("crio.network.plugin_dirs", "")), "/opt/cni/bin")
	for _, p := range conf.Plugins {
		if !slices.ContainsFunc(dirs, func(dir string) bool {
			_, err := os.Stat(c.path(filepath.Join(dir, p.Type)))
			return err == nil
		}) {
			return fmt.Sprintf("CNI plugin %s of %s is in none of %v", p.Type, file, dirs)
		}
	}
	return ""
}
