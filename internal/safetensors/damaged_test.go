package safetensors

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tune/internal/bounded"
)

// TestDamagedFiles: a file that was cut short or has a bit turned over is refused in one line that begins with its
// name. Only where the numbers or the metadata changed, or a name, does it load.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	if err := Write(path, []Tensor{
		{"model.layers.0.self_attn.q_proj.weight", BF16, []int64{4, 8}, FromBytes(bytes.Repeat([]byte{1}, 64))},
		{"model.norm.weight", F32, []int64{8}, FromBytes(bytes.Repeat([]byte{2}, 32))},
	}, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data := lengthSize + int(binary.LittleEndian.Uint64(whole))
	for what, b := range bounded.Damaged(whole, len(whole)) {
		writeBytes(t, path, b)
		f, err := Open(path)
		if err == nil {
			f.Close()
			if len(b) < len(whole) {
				t.Errorf("%s: loads", what)
			}
			continue
		}
		if !strings.HasPrefix(err.Error(), path+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q", what, err)
		}
		if len(b) == len(whole) && bytes.Equal(b[:data], whole[:data]) {
			t.Errorf("%s, where only a number changed: %v", what, err)
		}
	}
}

// TestDamagedIndex: the same for the index of a model in shards, whose error begins with the folder.
func TestDamagedIndex(t *testing.T) {
	index := []byte(`{"metadata":{"total_size":2},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}`)
	dir := modelDir(t, map[string][]string{"1.safetensors": {"a"}, "2.safetensors": {"b"}}, string(index))
	for what, b := range bounded.Damaged(index, len(index)) {
		writeBytes(t, filepath.Join(dir, IndexFileName), b)
		set, err := OpenDir(dir)
		if err == nil {
			set.Close()
			if len(b) < len(index) {
				t.Errorf("%s: loads", what)
			}
			continue
		}
		if !strings.HasPrefix(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q", what, err)
		}
	}
}
