package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"

	"tune/datasets"
	"tune/internal/files"
	"tune/internal/runstore"
)

// hashSet identifies what a run was made from.
type hashSet struct{ model, train, validation string }

// hashInBackground hashes the base model while it is being loaded: both wait for the same disk, once.
func hashInBackground(modelDir string, train, validation *datasets.Dataset) func() (hashSet, error) {
	h := hashSet{train: train.SHA256}
	if validation != nil {
		h.validation = validation.SHA256
	}
	done := make(chan error, 1)
	go func() {
		var err error
		h.model, err = hashModel(modelDir)
		done <- err
	}()
	return func() (hashSet, error) {
		if err := <-done; err != nil {
			return hashSet{}, fmt.Errorf("hash the base model: %w", err)
		}
		return h, nil
	}
}

// hashModel hashes a model folder: the names and hashes of its config and its weights, in order. A folder
// without weights, for a random start, is its config.
func hashModel(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return "", err
	}
	names = append(names, filepath.Join(dir, "config.json"))
	sort.Strings(names)
	total := sha256.New()
	for _, name := range names {
		sum, _, err := files.SHA256(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(total, "%s  %s\n", sum, filepath.Base(name)) // as sha256sum prints it
	}
	return hex.EncodeToString(total.Sum(nil)), nil
}

func hashBytes(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// eachArtifact calls record for every file of a folder that a run has left.
func eachArtifact(kind, dir string, record func(runstore.Artifact) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		sum, size, err := files.SHA256(path)
		if err != nil {
			return err
		}
		return record(runstore.Artifact{Kind: kind, Path: path, Bytes: size, SHA256: sum})
	})
}

// tokenizerFiles are what a model folder needs beside its weights to be used elsewhere.
var tokenizerFiles = []string{"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
	"generation_config.json", "chat_template.jinja", "added_tokens.json"}

func copyTokenizer(from, to string) error { return copyFiles(from, to, tokenizerFiles) }
