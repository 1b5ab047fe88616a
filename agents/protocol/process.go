package protocol

import "time"

// ProcessSpec is what a process of the user's own needs on its node besides its
// command. In the texts of a ComponentSpec and of its ProcessSpec, and nowhere
// else, the agent replaces PlaceholderDirectory and those of the artifacts.
type ProcessSpec struct {
	// Ports are all that it will listen on, so that one that is taken is told of
	// before the start.
	Ports     []int          `json:"ports,omitempty"`
	Files     []FileSpec     `json:"files,omitempty"`
	Artifacts []ArtifactSpec `json:"artifacts,omitempty"`
	User      string         `json:"user,omitempty"` // empty is the agent's
	// Directory is where it works, relative to the instance's own directory or
	// absolute.
	Directory string       `json:"directory,omitempty"`
	State     []string     `json:"state,omitempty"` // paths that are wiped before and after a cell
	Restart   *RestartSpec `json:"restart,omitempty"`

	ReadyHTTP   string `json:"ready_http,omitempty"` // a URL
	ReadyStatus int    `json:"ready_status,omitempty"`
	ReadyBody   string `json:"ready_body,omitempty"` // a regular expression; empty takes any
}

// PlaceholderDirectory stands for the instance's own directory on the node.
const PlaceholderDirectory = "{{self.directory}}"

// PlaceholderArtifact stands for where an artifact lies on the node.
func PlaceholderArtifact(name string) string { return "{{self.artifacts." + name + "}}" }

// FileSpec is a file in the instance's directory.
type FileSpec struct {
	Name    string `json:"name"`
	Content string `json:"content"`
	Mode    uint32 `json:"mode"`
}

// ArtifactSpec is a file that was pushed to artifacts/<SHA256> in bela's
// directory.
type ArtifactSpec struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	// Archive is the ending of the archive's name where it is to be unpacked: ".zip".
	Archive string `json:"archive,omitempty"`
	Mode    uint32 `json:"mode,omitempty"`
}

// RestartSpec says how an instance is started again that ended by itself.
type RestartSpec struct {
	// Always counts an end with exit status 0 too.
	Always  bool          `json:"always,omitempty"`
	Backoff time.Duration `json:"backoff"` // before the first; doubles with each
	Max     int           `json:"max"`     // restarts in a cell
}
