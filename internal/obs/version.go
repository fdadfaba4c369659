package obs

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Build says which program this is.
type Build struct {
	Version  string `json:"version"` // of the module; (devel) when built from a work tree
	Revision string `json:"revision"`
	Modified bool   `json:"modified"` // built from a tree with changes
	At       string `json:"at"`       // commit time
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// ReadBuild returns what the linker recorded. version, if not empty, stands for what it recorded as the version.
func ReadBuild(version string) Build {
	b := Build{Version: "(devel)", Revision: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			case "vcs.time":
				b.At = s.Value
			}
		}
	}
	if version != "" {
		b.Version = version
	}
	return b
}

// String returns one line for people.
func (b Build) String() string {
	revision := b.Revision
	const short = 12
	if len(revision) > short {
		revision = revision[:short]
	}
	if b.Modified {
		revision += "+changes"
	}
	return fmt.Sprintf("earworm %s (%s, %s, %s)", b.Version, revision, b.Go, b.Platform)
}
