package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The names that Hugging Face gives to a model's weights: one file, or an index that names the shards.
const (
	SingleFileName = "model.safetensors"
	IndexFileName  = "model.safetensors.index.json"
)

// Set is the weights of one model folder, from one file or from several shards, as one set of tensors. The notes
// on goroutines and on Close of File hold for it too.
type Set struct {
	files  []*File
	holder map[string]*File // by tensor name
}

// OpenDir opens model.safetensors in dir or, where that is absent, the shards that model.safetensors.index.json
// names: the order in which transformers looks.
//
// Every file is checked as Open does. An index entry that leads out of the folder, a tensor that the index puts in
// a shard which lacks it, and a tensor that is in two shards are errors that name the index or the files. A tensor
// that the index does not list but a shard holds is part of the set. errors.Is(err, fs.ErrNotExist) tells a folder
// without weights.
func OpenDir(dir string) (*Set, error) {
	single, err := Open(filepath.Join(dir, SingleFileName))
	if err == nil {
		return newSet([]*File{single})
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	indexPath := filepath.Join(dir, IndexFileName)
	shardOf, err := readIndex(indexPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: neither %s nor %s is there: %w", dir, SingleFileName, IndexFileName, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return openShards(dir, indexPath, shardOf)
}

// readIndex returns the weight_map of an index file: the shard of every tensor.
func readIndex(path string) (map[string]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	var weightMap json.RawMessage
	err = walkObject(raw, func(key string, value json.RawMessage) error {
		if key == "weight_map" {
			weightMap = value
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if weightMap == nil {
		return nil, fmt.Errorf("%s: weight_map is missing", path)
	}
	shardOf, err := parseStringMap(weightMap)
	if err != nil {
		return nil, fmt.Errorf("%s: weight_map: %w", path, err)
	}
	for _, tensor := range sortedNames(shardOf) {
		shard := shardOf[tensor]
		if shard == "." || !filepath.IsLocal(shard) || filepath.Base(shard) != shard {
			return nil, fmt.Errorf("%s: weight_map: %q: %q is not a file of the folder", path, tensor, shard)
		}
	}
	return shardOf, nil
}

// openShards opens every shard that the index names and checks the index against them.
func openShards(dir, indexPath string, shardOf map[string]string) (*Set, error) {
	shards := map[string]*File{}
	var files []*File
	fail := func(err error) (*Set, error) { return nil, errors.Join(err, closeAll(files)) }
	for _, tensor := range sortedNames(shardOf) {
		shard := shardOf[tensor]
		if shards[shard] == nil {
			file, err := Open(filepath.Join(dir, shard))
			if errors.Is(err, fs.ErrNotExist) {
				// Not the fs.ErrNotExist of a folder without weights: some of them are here.
				return fail(fmt.Errorf("%s: weight_map: shard %q is missing", indexPath, shard))
			}
			if err != nil {
				return fail(err)
			}
			shards[shard] = file
			files = append(files, file)
		}
		if _, ok := shards[shard].header.tensors[tensor]; !ok {
			return fail(fmt.Errorf("%s: weight_map: puts tensor %q in %s, which does not have it",
				indexPath, tensor, shard))
		}
	}
	return newSet(files)
}

// newSet joins files; it closes them all when they share a tensor.
func newSet(files []*File) (*Set, error) {
	s := &Set{files: files, holder: map[string]*File{}}
	for _, file := range files {
		for _, name := range file.Names() {
			if first := s.holder[name]; first != nil {
				err := fmt.Errorf("%s: tensor %q is in %s too", file.path, name, first.path)
				return nil, errors.Join(err, closeAll(files))
			}
			s.holder[name] = file
		}
	}
	return s, nil
}

// Names returns the tensors' names in alphabetical order.
func (s *Set) Names() []string { return sortedNames(s.holder) }

// Info returns a tensor's dtype and shape, and whether the set has it.
func (s *Set) Info(name string) (TensorInfo, bool) {
	file, ok := s.holder[name]
	if !ok {
		return TensorInfo{}, false
	}
	return file.Info(name)
}

// Bytes returns a tensor's data and whether the set has it, with the limits of File.Bytes.
func (s *Set) Bytes(name string) ([]byte, bool) {
	file, ok := s.holder[name]
	if !ok {
		return nil, false
	}
	return file.Bytes(name)
}

// File returns the path of the file that holds a tensor, for messages; "" when the set does not have it.
func (s *Set) File(name string) string {
	if file, ok := s.holder[name]; ok {
		return file.path
	}
	return ""
}

// Paths returns the paths of the files of the set, in the order in which they were opened.
func (s *Set) Paths() []string {
	paths := make([]string, len(s.files))
	for i, file := range s.files {
		paths[i] = file.path
	}
	return paths
}

// Close unmaps all files. A second Close does nothing.
func (s *Set) Close() error { return closeAll(s.files) }

func closeAll(files []*File) error {
	var errs []error
	for _, file := range files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}
