package hub

import (
	"fmt"
	"regexp"
	"strings"
)

// DefaultRevision is the branch that is meant where no revision is given.
const DefaultRevision = "main"

// namePart is one half of org/name. huggingface_hub: letters, digits, -, _ and ., not - or . at the ends.
var namePart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$`)

// ValidID reports whether text has the form of a model on the Hub: org/name.
// Source: huggingface_hub, src/huggingface_hub/utils/_validators.py, validate_repo_id.
func ValidID(text string) bool {
	org, name, ok := strings.Cut(text, "/")
	return ok && namePart.MatchString(org) && namePart.MatchString(name) && len(text) <= 96 &&
		!strings.Contains(text, "--") && !strings.Contains(text, "..") && !strings.HasSuffix(text, ".git")
}

var commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// IsCommit reports whether a revision is a whole commit hash: such a one never changes its meaning.
func IsCommit(revision string) bool { return commitHash.MatchString(revision) }

// checkNames refuses what could not be a model, or would lead out of the cache: a revision is the name of a file
// below refs/.
func checkNames(repo, revision string) error {
	if !ValidID(repo) {
		return &Error{Kind: ErrInvalid, Repo: repo, Text: fmt.Sprintf("%q is no name of a model on the Hub, want org/name", repo)}
	}
	for part := range strings.SplitSeq(revision, "/") {
		if part == "" || part == "." || strings.Contains(part, "..") || strings.ContainsAny(part, `\:*?"<>|^~[`) ||
			strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return &Error{Kind: ErrInvalid, Repo: repo, Revision: revision,
				Text: fmt.Sprintf("%s: %q is no revision, want a branch, a tag or a commit", repo, revision)}
		}
	}
	return nil
}
