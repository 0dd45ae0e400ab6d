package profile

// Component is one input that is not a package; exactly one kind is set.
type Component struct {
	// Name of the component in the lock and in messages.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// GoModule builds programs of a Go module.
	GoModule *GoModule `yaml:"goModule,omitempty" json:"goModule,omitempty"`
}

// GoModule builds programs of a Go module for the image's architecture, static and reproducible.
type GoModule struct {
	// Module is the module's path, without a version.
	Module string `yaml:"module" json:"module" jsonschema:"required"`
	// Version of the module: v0.8.7.
	Version string `yaml:"version" json:"version" jsonschema:"required"`
	// Sum is the module's h1: sum, as in go.sum.
	Sum string `yaml:"sum" json:"sum" jsonschema:"required"`
	// Packages to build, relative to the module: plugins/...
	Packages []string `yaml:"packages" json:"packages" jsonschema:"required"`
	// LDFlags are added to -s -w.
	LDFlags string `yaml:"ldflags,omitempty" json:"ldflags,omitempty"`
	// Destination is the directory in the image.
	Destination string `yaml:"destination" json:"destination" jsonschema:"required"`
	// Exclude names programs that are built but not installed.
	Exclude []string `yaml:"exclude,omitempty" json:"exclude,omitempty"`
}
