package safetensors

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// modelDir writes a folder: every shard holds one-byte tensors with these names.
func modelDir(t *testing.T, shards map[string][]string, index string) string {
	t.Helper()
	dir := t.TempDir()
	for shard, names := range shards {
		var tensors []Tensor
		for _, name := range names {
			tensors = append(tensors, Tensor{name, U8, []int64{1}, FromBytes([]byte(name[:1]))})
		}
		if err := Write(filepath.Join(dir, shard), tensors, nil); err != nil {
			t.Fatal(err)
		}
	}
	if index != "" {
		writeBytes(t, filepath.Join(dir, IndexFileName), []byte(index))
	}
	return dir
}

func TestOpenDir(t *testing.T) {
	const index = `{"metadata":{"total_size":3},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}`
	for _, tc := range []struct {
		name   string
		shards map[string][]string
		index  string
		want   map[string]string // file by tensor
	}{
		{"one file", map[string][]string{"model.safetensors": {"a", "b"}}, "",
			map[string]string{"a": "model.safetensors", "b": "model.safetensors"}},
		{"shards", map[string][]string{"1.safetensors": {"a"}, "2.safetensors": {"b", "unlisted"}}, index,
			map[string]string{"a": "1.safetensors", "b": "2.safetensors", "unlisted": "2.safetensors"}},
		{"one file beside an old index", map[string][]string{"model.safetensors": {"a"}}, index,
			map[string]string{"a": "model.safetensors"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := modelDir(t, tc.shards, tc.index)
			set, err := OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, name := range set.Names() {
				got[name] = filepath.Base(set.File(name))
				info, ok := set.Info(name)
				data, okData := set.Bytes(name)
				if !ok || !okData || info.DType != U8 || string(data) != name[:1] {
					t.Errorf("%s: %+v %q", name, info, data)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if _, ok := set.Info("absent"); ok {
				t.Error("absent tensor has an info")
			}
			if _, ok := set.Bytes("absent"); ok || set.File("absent") != "" {
				t.Error("absent tensor found")
			}
			for range 2 {
				if err := set.Close(); err != nil {
					t.Error(err)
				}
			}
			if _, ok := set.Bytes("a"); ok {
				t.Error("Bytes works after Close")
			}
		})
	}
}

func TestOpenDirRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		shards map[string][]string
		index  string
		want   string
	}{
		{"parent folder", nil, `{"weight_map":{"a":"../x.safetensors"}}`, `"../x.safetensors" is not a file of the folder`},
		{"absolute path", nil, `{"weight_map":{"a":"/etc/passwd"}}`, `"/etc/passwd" is not a file of the folder`},
		{"sub-folder", nil, `{"weight_map":{"a":"d/x"}}`, `"d/x" is not a file of the folder`},
		{"the folder", nil, `{"weight_map":{"a":"."}}`, `"." is not a file of the folder`},
		{"no name", nil, `{"weight_map":{"a":""}}`, `"" is not a file of the folder`},
		{"missing shard", nil, `{"weight_map":{"a":"x.safetensors"}}`, `weight_map: shard "x.safetensors" is missing`},
		{"tensor not in the shard", map[string][]string{"x.safetensors": {"b"}}, `{"weight_map":{"a":"x.safetensors"}}`,
			`weight_map: puts tensor "a" in x.safetensors, which does not have it`},
		{"tensor in two shards", map[string][]string{"x.safetensors": {"a", "b"}, "y.safetensors": {"b"}},
			`{"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}`, `y.safetensors: tensor "b" is in `},
		{"no weight_map", nil, `{}`, "weight_map is missing"},
		{"weight_map twice", nil, `{"weight_map":{},"weight_map":{}}`, `key "weight_map" is there twice`},
		{"tensor twice", nil, `{"weight_map":{"a":"x","a":"y"}}`, `key "a" is there twice`},
		{"shard is a number", nil, `{"weight_map":{"a":1}}`, `"a" is 1, want a string`},
		{"no JSON", nil, `{`, "the JSON ends too early"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := modelDir(t, tc.shards, tc.index)
			set, err := OpenDir(dir)
			if err == nil {
				set.Close()
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), dir) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q, want %q", err, tc.want)
			}
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error %q counts as a folder without weights", err)
			}
		})
	}
}

func TestOpenDirWithoutWeights(t *testing.T) {
	_, err := OpenDir(t.TempDir())
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), SingleFileName) ||
		!strings.Contains(err.Error(), IndexFileName) {
		t.Errorf("error %v, want fs.ErrNotExist that names both files", err)
	}
}

// Hugging Face's cache keeps the files of a model as links to blobs elsewhere.
func TestOpenDirFollowsLinks(t *testing.T) {
	dir := modelDir(t, map[string][]string{"blob": {"a"}}, "")
	snapshot := filepath.Join(dir, "snapshot")
	if err := os.Mkdir(snapshot, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("..", "blob"), filepath.Join(snapshot, SingleFileName)); err != nil {
		t.Fatal(err)
	}
	set, err := OpenDir(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if got := set.Names(); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("names %v", got)
	}
}
