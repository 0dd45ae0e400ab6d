package profile

import "fmt"

// Defaults of what a profile leaves out.
const (
	defaultHostname = "edge"
	defaultInitrd   = "builtin"
	defaultOutput   = "raw"
	defaultOptions  = "defaults"
	defaultPriority = 500
	defaultShell    = "/bin/bash"
)

// InitramfsTools is the initrd that the distribution's own program makes.
const InitramfsTools = "initramfs-tools"

// setDefaults fills what was left out and notes "default" as its origin. A field that the profile
// set to its zero value on purpose is filled, too: none of these has a useful one.
func setDefaults(p *Profile, origins map[string]Origin) {
	if p.Base.Image == nil { // a base image keeps its own
		fill(&p.Hostname, defaultHostname, "hostname", origins)
	}
	fill(&p.Boot.Initrd, defaultInitrd, "boot.initrd", origins)
	if len(p.Outputs) == 0 {
		p.Outputs = []string{defaultOutput}
		origins["outputs"], origins["outputs[0]"] = Origin{File: "default"}, Origin{File: "default"}
	}
	for i := range p.Apt.Sources {
		fill(&p.Apt.Sources[i].Priority, defaultPriority, fmt.Sprintf("apt.sources[%d].priority", i), origins)
	}
	for i := range p.Disk.Partitions {
		if p.Disk.Partitions[i].Mount != "" {
			fill(&p.Disk.Partitions[i].Options, defaultOptions, fmt.Sprintf("disk.partitions[%d].options", i), origins)
		}
	}
	for i := range p.Users {
		u, at := &p.Users[i], fmt.Sprintf("users[%d]", i)
		fill(&u.Shell, defaultShell, at+".shell", origins)
		fill(&u.Home, "/home/"+u.Name, at+".home", origins)
	}
}

func fill[T comparable](value *T, fallback T, path string, origins map[string]Origin) {
	var zero T
	if *value == zero {
		*value = fallback
		origins[path] = Origin{File: "default"}
	}
}
