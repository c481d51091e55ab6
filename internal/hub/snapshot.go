package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"tune/internal/filelock"
)

// Event is what a Snapshot tells while it works: how far it is, or something that people should know.
type Event struct {
	File        string // that is being fetched
	Done, Total int64  // bytes of all files, those that were there already included; Total is 0 until it is known
	Note        string // a sentence: why it waits, what it tries again, what it does without; the rest is empty then
}

// Snapshot returns the folder of a model, fetching into the cache what is not there. An empty revision is main. The
// folder's name is the commit. progress, which may be nil, is called from the caller's goroutine.
//
// A whole commit hash that is in the cache needs no network, unless another program left small files out and nothing
// says whether the model has them: then they are looked for. A branch or a tag is looked up each time. Where the Hub
// cannot be reached, what the cache has serves, with an Event that says so, and one that names small files which may
// be missing. A download that was cut off goes on
// where it stopped; every file is checked against the hash that the Hub names before it gets its place. Of two
// downloads at once, in one process or two, one waits for the other, file by file.
//
// Errors: *Error of one of the kinds in this package, the cause of a ctx that ended, and those of the file system.
func (c *Client) Snapshot(ctx context.Context, repo, revision string, progress func(Event)) (dir string, err error) {
	return c.snapshot(ctx, repo, revision, true, progress)
}

// Tokenizer is Snapshot without the weights: what text becomes for the model can be seen without them.
func (c *Client) Tokenizer(ctx context.Context, repo, revision string, progress func(Event)) (dir string, err error) {
	return c.snapshot(ctx, repo, revision, false, progress)
}

func (c *Client) snapshot(ctx context.Context, repo, revision string, weights bool, progress func(Event)) (dir string, err error) {
	if revision == "" {
		revision = DefaultRevision
	}
	if progress == nil {
		progress = func(Event) {}
	}
	note := func(text string) { progress(Event{Note: text}) }

	cached, missing := c.cached(repo, revision, weights)
	var unknown []string // small files that the cache lacks and the model may have
	if missing == nil {
		unknown = c.unknownGuides(repo, filepath.Base(cached))
	}
	switch {
	case missing == nil && c.Offline:
		c.noteAbsent(repo, cached, note)
		return cached, nil
	case missing == nil && IsCommit(revision) && len(unknown) == 0:
		return cached, nil
	case missing != nil && !errors.Is(missing, ErrNotCached):
		return "", missing
	case c.Offline:
		e, _ := errors.AsType[*Error](missing)
		source := cmp.Or(c.OfflineSource, "HF_HUB_OFFLINE")
		e.Text += ", and " + source + " is set"
		e.Hint = "unset " + source + " once, with a network, to fetch it"
		return "", e
	}
	p, tries := place{repo: repo, revision: revision}, firstTries
	if missing == nil {
		tries = 1 // there is something to go on with
	}
	var l *listing
	err = c.retry(ctx, tries, note, func() (int64, error) {
		l, err = c.list(ctx, p)
		return 0, err
	})
	if err != nil {
		if missing != nil || ctx.Err() != nil {
			return "", err
		}
		// What a commit means cannot change: no refusal makes a copy of it useless.
		if errors.Is(err, ErrUnreachable) || IsCommit(revision) {
			note(fmt.Sprintf("%v; going on with what the cache has of %s, commit %.12s", err, revision, filepath.Base(cached)))
			c.noteAbsent(repo, cached, note)
			return cached, nil
		}
		if e, ok := errors.AsType[*Error](err); ok && e.Hint != "" {
			e.Hint += "; HF_HUB_OFFLINE=1 uses the copy in the cache"
		}
		return "", err
	}
	d := &download{Client: c, repo: repo, commit: l.Commit, names: l.Names, progress: progress,
		root: c.repoDir(repo), dir: filepath.Join(c.repoDir(repo), "snapshots", l.Commit)}
	if err := d.run(ctx, weights); err != nil {
		return "", err
	}
	return d.dir, d.writeRef(revision)
}

// download fetches one commit.
type download struct {
	*Client
	repo, commit string
	names        map[string]bool // of all files of the repository
	root, dir    string          // of the repository and the snapshot in the cache
	progress     func(Event)
	done, total  int64
}

func (d *download) at(file string) place {
	return place{repo: d.repo, revision: d.commit, file: file}
}

func (d *download) note(text string) { d.progress(Event{Note: text}) }

// tell shows how far it is, with so many bytes of a file there.
func (d *download) tell(f remoteFile, have int64) {
	d.progress(Event{File: f.file, Done: d.done + have, Total: d.total})
}

// smallFiles are what a model may have beside its weights, as patterns of path.Match.
var smallFiles = []string{configFile, "generation_config.json", "tokenizer*.json", "tokenizer*.model",
	"special_tokens_map.json", "added_tokens.json", "chat_template.json", "chat_template.jinja"}

// run fetches everything, the weights last: what has its weights has the rest too.
func (d *download) run(ctx context.Context, withWeights bool) error {
	if err := d.checkNames(); err != nil {
		return err
	}
	var small, weights []string
	for name := range d.names {
		for _, pattern := range smallFiles {
			if ok, _ := path.Match(pattern, name); ok && isPlainName(name) {
				small = append(small, name)
				break
			}
		}
	}
	sort.Strings(small)
	if withWeights {
		var err error
		if weights, err = d.weights(ctx); err != nil {
			return err
		}
	}
	files, err := d.describeAll(ctx, append(small, weights...))
	if err != nil {
		return err
	}
	if err := d.checkSpace(files); err != nil {
		return err
	}
	for _, f := range files {
		if err := d.obtain(ctx, f); err != nil {
			return err
		}
		d.done += f.size
	}
	d.markAbsent()
	return nil
}

// checkNames refuses a repository that is no language model.
func (d *download) checkNames() error {
	hint := "is it a language model? " + d.Site() + "/" + d.repo + "/tree/main shows its files"
	switch {
	case !d.names[configFile]:
		return d.fail(ErrFileMissing, d.at(""), hint, "%s has no %s", d.repo, configFile)
	case !d.names["tokenizer.json"] && !d.names["tokenizer.model"]:
		return d.fail(ErrFileMissing, d.at(""), hint, "%s has neither tokenizer.json nor tokenizer.model", d.repo)
	}
	return nil
}

// weights returns the names of the files that hold the weights. Of a model in shards the index is fetched for that.
func (d *download) weights(ctx context.Context) ([]string, error) {
	switch {
	case d.names[weightsFile]:
		return []string{weightsFile}, nil
	case !d.names[indexFile]:
		return nil, d.fail(ErrFileMissing, d.at(""), "tune reads safetensors only; many models have a variant with them",
			"%s has no safetensors (%s)", d.repo, d.otherWeights())
	}
	index, err := d.describeAll(ctx, []string{indexFile})
	if err != nil {
		return nil, err
	}
	d.total = 0 // the shards are still unknown
	for _, f := range index {
		if err := d.obtain(ctx, f); err != nil {
			return nil, err
		}
	}
	shards, err := readShards(filepath.Join(d.dir, indexFile))
	if err != nil {
		return nil, err
	}
	for _, shard := range shards {
		if !d.names[shard] {
			return nil, d.fail(ErrFileMissing, d.at(shard), "the repository is damaged; another revision may be whole",
				"%s: %s names %s, which the repository does not have", d.repo, indexFile, shard)
		}
	}
	return append([]string{indexFile}, shards...), nil
}

// otherWeights names what a repository has in place of safetensors.
func (d *download) otherWeights() string {
	var have []string
	for name := range d.names {
		switch path.Ext(name) {
		case ".bin", ".gguf", ".h5", ".msgpack", ".pt", ".pth", ".npz", ".safetensors":
			have = append(have, name)
		}
	}
	sort.Strings(have)
	if len(have) == 0 {
		return "nor any other weights"
	}
	if len(have) > 3 {
		have = append(have[:3], "…")
	}
	return "it has " + strings.Join(have, ", ")
}

// describeAll asks for the size and the hash of the files that are not in the snapshot yet; of those that are, the
// size is enough.
func (d *download) describeAll(ctx context.Context, names []string) ([]remoteFile, error) {
	var files []remoteFile
	d.total = 0
	for _, name := range names {
		f := remoteFile{place: d.at(name)}
		if info, err := os.Stat(filepath.Join(d.dir, name)); err == nil {
			f.size = info.Size()
		} else if err := d.retry(ctx, maxTries, d.note, func() (_ int64, err error) {
			f, err = d.describe(ctx, d.at(name))
			return 0, err
		}); err != nil {
			return nil, err
		}
		files = append(files, f)
		d.total += f.size
	}
	return files, nil
}

func (d *download) blob(f remoteFile) string { return filepath.Join(d.root, "blobs", f.hash) }

// hasBlob reports whether a file's bytes are in the cache. One of another size was cut off by some other program.
func (d *download) hasBlob(f remoteFile) bool {
	info, err := os.Stat(d.blob(f))
	return err == nil && info.Size() == f.size
}

// checkSpace refuses a download that the disk has no room for, before it begins.
func (d *download) checkSpace(files []remoteFile) error {
	var need int64
	for _, f := range files {
		if f.hash == "" || d.hasBlob(f) {
			continue
		}
		need += f.size
		if begun, err := os.Stat(d.blob(f) + ".incomplete"); err == nil {
			need -= min(begun.Size(), f.size)
		}
	}
	if need == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(d.root, "blobs"), 0o755); err != nil {
		return err
	}
	measure := d.free
	if measure == nil {
		measure = freeSpace
	}
	if free, known := measure(d.root); known && free < need {
		return d.fail(ErrDiskFull, d.at(""), "make room, or let HF_HOME name a folder on a larger disk",
			"%s: %s to download, %s free in %s", d.repo, bytesText(need), bytesText(free), d.Cache)
	}
	return nil
}

// bytesText writes a size as disks are sold: 2.00 GB.
func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d bytes", n)
}

// obtain puts a file into the snapshot.
func (d *download) obtain(ctx context.Context, f remoteFile) error {
	link := filepath.Join(d.dir, f.file)
	if _, err := os.Stat(link); err == nil {
		return nil
	}
	lockFile := filepath.Join(d.Cache, ".locks", filepath.Base(d.root), f.hash+".lock")
	unlock, err := filelock.Take(ctx, lockFile, func() {
		d.note(fmt.Sprintf("waiting for another download of %s to end", f.place))
	})
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(link); err == nil {
		return nil // the other one has fetched it
	}
	for _, dir := range []string{filepath.Dir(d.blob(f)), d.dir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	fresh := !d.hasBlob(f)
	if fresh {
		if err := d.fetch(ctx, f); err != nil {
			return err
		}
	}
	return d.link(d.blob(f), link, fresh)
}

// fetch makes blobs/<hash>. The lock is held.
func (d *download) fetch(ctx context.Context, f remoteFile) error {
	path := d.blob(f) + ".incomplete"
	p, err := openPart(ctx, path, f, func(have int64) { d.tell(f, have) })
	if err != nil {
		return err
	}
	defer p.file.Close()
	if err = d.fill(ctx, p); errors.Is(err, ErrCorrupt) {
		// What an earlier download left, or a broken cache on the way, may have been wrong: once more from the start.
		d.note(fmt.Sprintf("%v; fetching it again", err))
		if err := p.restart(); err != nil {
			return err
		}
		err = d.fill(ctx, p)
	}
	if errors.Is(err, ErrCorrupt) {
		err = errors.Join(err, p.file.Close(), os.Remove(path))
	}
	if err != nil {
		return err
	}
	if err := errors.Join(p.file.Sync(), p.file.Close()); err != nil {
		return err
	}
	return os.Rename(path, d.blob(f))
}

// fill brings a part to its full size, trying again where the network fails, and checks its hash.
func (d *download) fill(ctx context.Context, p *part) error {
	tell := func() { d.tell(p.want, p.have) }
	tell()
	furthest := p.have
	err := d.retry(ctx, maxTries, d.note, func() (brought int64, err error) {
		err = d.continuePart(ctx, p, tell)
		// A server that ignores ranges brings the same bytes each time: only new ones count.
		brought = p.have - furthest
		furthest = max(furthest, p.have)
		return brought, err
	})
	if err != nil {
		return err
	}
	return d.wrongBytes(p)
}

// link makes a snapshot's file from a blob: a relative link, so that the cache can be moved as a whole. Where there
// are no links, a fresh blob becomes the file and another is copied, as huggingface_hub does.
func (d *download) link(blob, file string, fresh bool) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) { // a link to nothing
		return err
	}
	target, err := filepath.Rel(filepath.Dir(file), blob)
	if err != nil {
		return err
	}
	symlink := d.symlink
	if symlink == nil {
		symlink = os.Symlink
	}
	if err := symlink(target, file); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	if fresh {
		return os.Rename(blob, file)
	}
	return copyFile(blob, file)
}

// copyFile makes a copy that appears whole or not at all.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeWhole(to, in)
}

// markAbsent remembers which guides the model does not have. It is only a memory: where it cannot be written, as in a
// cache that belongs to someone else, the Hub is asked again.
func (d *download) markAbsent() {
	for _, name := range guides {
		mark := d.noExist(d.repo, d.commit, name)
		if _, err := os.Stat(mark); err == nil || d.names[name] {
			continue
		}
		if os.MkdirAll(filepath.Dir(mark), 0o755) == nil {
			_ = os.WriteFile(mark, nil, 0o644)
		}
	}
}

// writeRef remembers the commit of a branch or a tag, for when the network is away.
func (d *download) writeRef(revision string) error {
	path := filepath.Join(d.root, "refs", filepath.FromSlash(revision))
	if IsCommit(revision) {
		return nil
	}
	if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == d.commit {
		return nil // a cache that cannot be written serves too
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeWhole(path, strings.NewReader(d.commit))
}

// writeWhole writes a file beside its place and moves it there.
func writeWhole(path string, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is there after the rename
	_, err = io.Copy(f, r)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
