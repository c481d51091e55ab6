package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// The files that make a model, by the names that Hugging Face gives them.
const (
	configFile  = "config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"

	templateFile    = "chat_template.jinja"
	oldTemplateFile = "chat_template.json" // of older processors
)

// repoDir is a repository's folder in the cache.
func (c *Client) repoDir(repo string) string {
	return filepath.Join(c.Cache, "models--"+strings.ReplaceAll(repo, "/", "--"))
}

// Cached returns the folder of a revision that is whole in the cache, without any use of the network. An empty
// revision is main. The folder's name is the commit.
//
// Errors: ErrNotCached, with what is missing; ErrInvalid.
func (c *Client) Cached(repo, revision string) (dir string, err error) {
	return c.cached(repo, revision, true)
}

// cached is Cached, also of a model whose weights are not wanted.
func (c *Client) cached(repo, revision string, weights bool) (dir string, err error) {
	if revision == "" {
		revision = DefaultRevision
	}
	if err := checkNames(repo, revision); err != nil {
		return "", err
	}
	p, commit := place{repo: repo, revision: revision}, revision
	if !IsCommit(revision) {
		text, err := os.ReadFile(filepath.Join(c.repoDir(repo), "refs", filepath.FromSlash(revision)))
		if commit = strings.TrimSpace(string(text)); err != nil || !IsCommit(commit) {
			return "", c.fail(ErrNotCached, p, "", "%s at %s is not in the cache %s", repo, revision, c.Cache)
		}
	}
	dir = filepath.Join(c.repoDir(repo), "snapshots", commit)
	if _, err := os.Stat(dir); err != nil {
		return "", c.fail(ErrNotCached, p, "", "%s at %s is not in the cache %s", repo, revision, c.Cache)
	}
	missing, err := missingFiles(dir, weights)
	if err != nil {
		return "", err
	}
	if len(missing) > 0 {
		return "", c.fail(ErrNotCached, p, "", "%s at %s is only in part in the cache %s: missing %s", repo, revision, c.Cache,
			strings.Join(missing, ", "))
	}
	return dir, nil
}

// guides are the files without which a model can be trained, but not as it should be: they say how conversations are
// written and how replies are drawn.
var guides = []string{"tokenizer_config.json", templateFile, oldTemplateFile, "generation_config.json"}

// noExist is an empty file which says that a model has none of this name: huggingface_hub's memory, and ours.
// Source: huggingface_hub, src/huggingface_hub/file_download.py, try_to_load_from_cache.
func (c *Client) noExist(repo, commit, name string) string {
	return filepath.Join(c.repoDir(repo), ".no_exist", commit, name)
}

// unknownGuides returns the guides that a commit in the cache lacks and that the model may have all the same: other
// programs fetch only what they need.
func (c *Client) unknownGuides(repo, commit string) []string {
	var unknown []string
	for _, name := range guides {
		_, err := os.Stat(filepath.Join(c.repoDir(repo), "snapshots", commit, name))
		_, err2 := os.Stat(c.noExist(repo, commit, name))
		if err != nil && err2 != nil {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// noteAbsent tells which guides a snapshot lacks where they cannot be looked for. The chat template may stand in any of
// three files: one is enough.
func (c *Client) noteAbsent(repo, dir string, note func(string)) {
	unknown := c.unknownGuides(repo, filepath.Base(dir))
	if hasTemplate(dir) {
		unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == templateFile || name == oldTemplateFile })
	}
	if len(unknown) > 0 {
		note(fmt.Sprintf("the cache has no %s of %s, and whether the model has them cannot be looked up: going on without",
			strings.Join(unknown, ", "), repo))
	}
}

// hasTemplate reports whether a snapshot says how its model writes conversations.
func hasTemplate(dir string) bool {
	for _, name := range []string{templateFile, oldTemplateFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	var config struct {
		Template json.RawMessage `json:"chat_template"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "tokenizer_config.json"))
	return err == nil && json.Unmarshal(text, &config) == nil && len(config.Template) > 0
}

// Missing says which files a folder lacks to be a model that can be trained: its configuration, its tokenizer, its
// weights and all shards of them. The error is of an index that cannot be read.
func Missing(dir string) ([]string, error) { return missingFiles(dir, true) }

func missingFiles(dir string, weights bool) (missing []string, err error) {
	lacks := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name)) // follows the link: a dangling one is no file
		return err != nil
	}
	if lacks(configFile) {
		missing = append(missing, configFile)
	}
	if lacks("tokenizer.json") && lacks("tokenizer.model") {
		missing = append(missing, "tokenizer.json")
	}
	if !weights || !lacks(weightsFile) {
		return missing, nil
	}
	if lacks(indexFile) {
		return append(missing, weightsFile), nil
	}
	shards, err := readShards(filepath.Join(dir, indexFile))
	for _, shard := range shards {
		if lacks(shard) {
			missing = append(missing, shard)
		}
	}
	return missing, err
}

// readShards returns the files that an index names, each once, in order.
func readShards(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	seen := map[string]bool{}
	var shards []string
	for tensor, shard := range index.WeightMap {
		if !isPlainName(shard) || !strings.HasSuffix(shard, ".safetensors") {
			return nil, fmt.Errorf("%s: weight_map: %q: %q is no safetensors file of the repository's own folder", path, tensor, shard)
		}
		if !seen[shard] {
			seen[shard] = true
			shards = append(shards, shard)
		}
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("%s: weight_map: is missing or empty", path)
	}
	sort.Strings(shards)
	return shards, nil
}

// isPlainName reports whether a name that came from elsewhere stays in the folder that it is put in.
func isPlainName(name string) bool {
	return filepath.IsLocal(name) && name != "." && !strings.ContainsAny(name, `/\:`)
}

// CachedModel is one commit of a model in the cache.
type CachedModel struct {
	Repo      string   // org/name
	Commit    string   // "" where there is only the beginning of a download
	Revisions []string // the branches and tags that were last seen at this commit
	Dir       string   // the snapshot; "" without a commit
	Bytes     int64    // of its files, and of what an unfinished download has left
	Missing   []string // what a model needs and this snapshot lacks; empty when it is whole
}

// List returns what is in the cache, by name. A cache that does not exist is empty. What it cannot read it passes
// over and reports in the error, beside all the rest.
func (c *Client) List() ([]CachedModel, error) {
	folders, err := os.ReadDir(c.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var models []CachedModel
	var errs []error
	for _, folder := range folders {
		name, ok := strings.CutPrefix(folder.Name(), "models--")
		if !ok {
			continue // datasets--, spaces--, .locks
		}
		// No name on the Hub has two dashes in a row: the first two are the slash.
		found, err := c.listRepo(strings.Replace(name, "--", "/", 1), filepath.Join(c.Cache, folder.Name()))
		models = append(models, found...)
		errs = append(errs, err)
	}
	return models, errors.Join(errs...)
}

// listRepo returns the commits of one repository that are in the cache.
func (c *Client) listRepo(repo, root string) ([]CachedModel, error) {
	revisions, err := readRefs(filepath.Join(root, "refs"))
	if err != nil {
		return nil, err
	}
	unfinished, err := sizeOf(filepath.Join(root, "blobs"), ".incomplete")
	if err != nil {
		return nil, err
	}
	snapshots, err := os.ReadDir(filepath.Join(root, "snapshots"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var models []CachedModel
	for _, snapshot := range snapshots {
		if !IsCommit(snapshot.Name()) {
			continue
		}
		m := CachedModel{Repo: repo, Commit: snapshot.Name(), Revisions: revisions[snapshot.Name()],
			Dir: filepath.Join(root, "snapshots", snapshot.Name())}
		if m.Missing, err = Missing(m.Dir); err != nil {
			return models, err
		}
		if m.Bytes, err = sizeOf(m.Dir, ""); err != nil {
			return models, err
		}
		if len(m.Missing) > 0 {
			m.Bytes += unfinished
		}
		models = append(models, m)
	}
	if len(models) == 0 && unfinished > 0 {
		models = []CachedModel{{Repo: repo, Bytes: unfinished, Missing: []string{configFile, weightsFile}}}
	}
	return models, nil
}

// readRefs returns the names of the branches and tags at each commit. A tag may have slashes: refs has folders, then.
func readRefs(dir string) (map[string][]string, error) {
	at := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") { // one that is just being written
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		commit := strings.TrimSpace(string(text))
		at[commit] = append(at[commit], filepath.ToSlash(name))
		return err
	})
	return at, err
}

// sizeOf adds up the files of a folder whose names end in suffix; of a link counts what it leads to.
func sizeOf(dir, suffix string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a download may have finished just now
		}
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		if info, err := os.Stat(path); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total, err
}
