package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tune/internal/bounded"
)

// fileOf returns the bytes of a file with this header and data, without any check.
func fileOf(header, data string) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func writeBytes(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestOpenRefuses(t *testing.T) {
	const a = `"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}`
	for _, tc := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty file", nil, "0 bytes are too few"},
		{"cut in the length", []byte{1, 0, 0}, "3 bytes are too few"},
		{"cut in the header", fileOf("{"+a+"}", "xy")[:20], "the file has 12 after its length: truncated file?"},
		{"cut in the data", fileOf("{"+a+"}", "x"), `tensor "a": ends at byte 2 of the data, the file has 1`},
		{"huge header", []byte("PK\x03\x04 zip files"), "not a safetensors file?"},
		{"header is no object", fileOf(`[]`, ""), "want a JSON object"},
		{"header is no JSON", fileOf(`{"a"`, ""), `header: "a": the JSON ends too early`},
		{"empty header", fileOf(``, ""), "header: the JSON ends too early"},
		{"text after the header", fileOf(`{} {}`, ""), "more text after"},
		{"same tensor twice", fileOf("{"+a+","+a+"}", "xy"), `key "a" is there twice`},
		{"same key twice", fileOf(`{"a":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}`, "x"),
			`tensor "a": key "dtype" is there twice`},
		{"metadata twice", fileOf(`{"__metadata__":{"k":"1","k":"2"}}`, ""), `__metadata__: key "k" is there twice`},
		{"metadata number", fileOf(`{"__metadata__":{"k":1}}`, ""), `__metadata__: "k" is 1, want a string`},
		{"metadata null", fileOf(`{"__metadata__":{"k":null}}`, ""), `"k" is null, want a string`},
		{"tensor is a number", fileOf(`{"a":1}`, ""), `tensor "a": found 1, want a JSON object`},
		{"no shape", fileOf(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, "x"), `tensor "a": want the keys dtype, shape`},
		{"null shape", fileOf(`{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, "x"), `tensor "a": shape is null`},
		{"key in another case", fileOf(`{"a":{"DType":"U8","shape":[],"data_offsets":[0,1]}}`, "x"), "want the keys dtype"},
		{"shape of strings", fileOf(`{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, "x"),
			`tensor "a": shape is ["1"]: found a string`},
		{"shape of fractions", fileOf(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, "x"), `shape is [1.5]`},
		{"unknown dtype", fileOf(`{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}`, "x"), `unknown dtype "F4"`},
		{"negative dimension", fileOf(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, "x"),
			`tensor "a": shape [-1] has a negative dimension`},
		{"shape overflow", fileOf(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, ""),
			"overflows 64 bits"},
		{"one offset", fileOf(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, "x"), "has 1 numbers, want 2"},
		{"negative offset", fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[-1,1]}}`, "x"), "needs 2 bytes"},
		{"offsets backwards", fileOf(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, "x"), "needs 1 bytes"},
		{"offsets overflow", fileOf(`{"a":{"dtype":"U8","shape":[1],`+
			`"data_offsets":[-9223372036854775808,9223372036854775807]}}`, "x"), "needs 1 bytes"},
		{"offsets do not fit the shape", fileOf(`{"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,10]}}`, "0123456789"),
			`tensor "a": BF16[2 3] needs 12 bytes, data_offsets are [0 10]`},
		{"hole", fileOf(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "xy"),
			`tensor "a": starts at byte 1 of the data, want 0: a hole`},
		{"overlap", fileOf("{"+a+`,"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, "xyz"),
			`tensor "b": starts at byte 1 of the data, overlaps "a" which ends at 2`},
		{"tail", fileOf("{"+a+"}", "xyz"), "1 bytes after the last tensor"},
		{"data without tensors", fileOf("{}", "x"), "1 bytes after the last tensor"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.safetensors")
			writeBytes(t, path, tc.file)
			f, err := Open(path)
			if err == nil {
				f.Close()
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q\nwant the path and %q", err, tc.want)
			}
		})
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v, want fs.ErrNotExist", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("folder: %v", err)
	}
}

func TestOpenAcceptsEdges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "edges.safetensors")
	writeBytes(t, path, fileOf(`{"scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},`+
		`"empty":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4],"later":"key"},`+
		`"last":{"shape":[1],"data_offsets":[4,5],"dtype":"BOOL"}}   `, "\x00\x00\x80\x3f\x01"))
	f := mustOpen(t, path)
	if got, want := f.Names(), []string{"empty", "last", "scalar"}; !cmp.Equal(got, want) {
		t.Errorf("Names %v, want %v", got, want)
	}
	for name, elements := range map[string]int64{"empty": 0, "last": 1, "scalar": 1} {
		if info, ok := f.Info(name); !ok || info.NumElements() != elements {
			t.Errorf("%s: %+v %v, want %d elements", name, info, ok, elements)
		}
	}
	if b, ok := f.Bytes("empty"); !ok || len(b) != 0 {
		t.Errorf("empty: %v %v", b, ok)
	}
	if b, ok := f.Bytes("scalar"); !ok || !bytes.Equal(b, []byte{0, 0, 0x80, 0x3f}) {
		t.Errorf("scalar: %v %v", b, ok)
	}
	if _, ok := f.Bytes("absent"); ok {
		t.Error("absent tensor found")
	}
	if _, ok := f.Info("absent"); ok {
		t.Error("absent tensor has an info")
	}
	if f.Metadata() != nil {
		t.Errorf("metadata %v, want nil", f.Metadata())
	}
}

func TestCloseEndsTheData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	if err := Write(path, []Tensor{{"a", U8, []int64{1}, FromBytes([]byte{7})}}, nil); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if b, ok := f.Bytes("a"); ok {
		t.Errorf("Bytes after Close gives %v", b)
	}
}

func TestWriteLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	err := Write(path, []Tensor{
		{"b", BF16, []int64{2}, FromBytes([]byte{1, 2, 3, 4})},
		{"a", BF16, nil, FromBytes([]byte{5, 6})},
		{"z<", I64, []int64{1}, FromBytes([]byte{9, 0, 0, 0, 0, 0, 0, 0})},
	}, map[string]string{"format": "pt", "a": "ü"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"a":"ü","format":"pt"},"z<":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},` +
		`"a":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[10,14]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := fileOf(header, "\x09\x00\x00\x00\x00\x00\x00\x00\x05\x06\x01\x02\x03\x04")
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, want 0644", stat.Mode())
	}
}

func TestWriteRefuses(t *testing.T) {
	one := FromBytes([]byte{1})
	for _, tc := range []struct {
		name     string
		tensors  []Tensor
		metadata map[string]string
		want     string
	}{
		{"same name", []Tensor{{"a", U8, []int64{1}, one}, {"a", U8, []int64{1}, one}}, nil,
			`tensor "a": the name is there twice`},
		{"reserved name", []Tensor{{"__metadata__", U8, []int64{1}, one}}, nil, "reserved"},
		{"name not UTF-8", []Tensor{{"\xff", U8, []int64{1}, one}}, nil, "not UTF-8"},
		{"metadata not UTF-8", nil, map[string]string{"k": "\xff"}, "not UTF-8"},
		{"unknown dtype", []Tensor{{"a", "F4", []int64{1}, one}}, nil, `tensor "a": unknown dtype "F4"`},
		{"negative dimension", []Tensor{{"a", U8, []int64{-1}, one}}, nil, "negative dimension"},
		{"overflow", []Tensor{{"a", U8, []int64{math.MaxInt64}, one}, {"b", U8, []int64{1}, one}}, nil,
			"overflow 64 bits"},
		{"no data", []Tensor{{"a", U8, []int64{1}, nil}}, nil, "no Data function"},
		{"too few bytes", []Tensor{{"a", U8, []int64{2}, one}}, nil, `tensor "a": U8[2] needs 2 bytes, Data wrote 1`},
		{"too many bytes", []Tensor{{"a", U8, []int64{0}, one}}, nil, `tensor "a": at least 1 bytes too many come from Data`},
		{"data fails", []Tensor{{"a", U8, []int64{1}, func(io.Writer) error { return io.ErrNoProgress }}}, nil,
			`tensor "a": multiple Read calls`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.safetensors")
			writeBytes(t, path, []byte("before"))
			err := Write(path, tc.tensors, tc.metadata)
			if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want the path and %q", err, tc.want)
			}
			// The file that was there is untouched and nothing is left beside it.
			if b, err := os.ReadFile(path); err != nil || string(b) != "before" {
				t.Errorf("old file is now %q, %v", b, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("folder holds %v, %v", entries, err)
			}
		})
	}
	if err := Write(filepath.Join(t.TempDir(), "absent", "a"), nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder absent: %v, want fs.ErrNotExist", err)
	}
}

// drawTensors makes tensors of any dtype, with dimensions from 0.
func drawTensors(t *rapid.T) ([]Tensor, map[string][]byte) {
	data := map[string][]byte{}
	var tensors []Tensor
	names := rapid.SliceOfNDistinct(rapid.String(), 0, 6, rapid.ID[string]).Draw(t, "names")
	for _, name := range names {
		if name == metadataKey {
			continue
		}
		dtype := dtypeOrder[rapid.IntRange(0, len(dtypeOrder)-1).Draw(t, "dtype")].dtype
		shape := rapid.SliceOfN(rapid.Int64Range(0, 4), 0, 3).Draw(t, "shape")
		size, err := byteSize(dtype, shape)
		if err != nil {
			t.Fatal(err)
		}
		data[name] = rapid.SliceOfN(rapid.Byte(), int(size), int(size)).Draw(t, "data")
		tensors = append(tensors, Tensor{name, dtype, shape, FromBytes(data[name])})
	}
	return tensors, data
}

func TestWriteThenOpenGivesTheSame(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		tensors, data := drawTensors(rt)
		metadata := rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(rt, "metadata")
		path, again := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		if err := Write(path, tensors, metadata); err != nil {
			rt.Fatal(err)
		}
		if err := Write(again, rapid.Permutation(tensors).Draw(rt, "order"), metadata); err != nil {
			rt.Fatal(err)
		}
		first, err1 := os.ReadFile(path)
		second, err2 := os.ReadFile(again)
		if err1 != nil || err2 != nil || !bytes.Equal(first, second) {
			rt.Fatalf("another order of the tensors gives other bytes (%v, %v)", err1, err2)
		}
		f, err := Open(path)
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		if len(f.Names()) != len(tensors) {
			rt.Fatalf("%d tensors, want %d", len(f.Names()), len(tensors))
		}
		for _, want := range tensors {
			info, ok := f.Info(want.Name)
			got, _ := f.Bytes(want.Name)
			if !ok || info.DType != want.DType || !cmp.Equal(info.Shape, want.Shape) || !bytes.Equal(got, data[want.Name]) {
				rt.Fatalf("tensor %q: %+v %v", want.Name, info, got)
			}
			offset := int(info.begin) + len(f.mapped) - len(f.data)
			if offset%int(info.DType.Size()) != 0 {
				rt.Fatalf("tensor %q: %s at byte %d of the file is not aligned", want.Name, info.DType, offset)
			}
		}
		if len(metadata) > 0 && !cmp.Equal(f.Metadata(), metadata) {
			rt.Fatalf("metadata %v, want %v", f.Metadata(), metadata)
		}
	})
}

// TestGoldenRewrite reads every safetensors file of the golden cases, written by the Rust writer, and writes it
// again: the bytes must be the same.
func TestGoldenRewrite(t *testing.T) {
	golden := os.Getenv("TUNE_GOLDEN")
	if golden == "" {
		golden = filepath.Join("..", "..", "testdata", "golden")
	}
	count := 0
	err := filepath.WalkDir(golden, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".safetensors" {
			return err
		}
		count++
		f, err := Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		var tensors []Tensor
		for _, name := range f.Names() {
			info, _ := f.Info(name)
			data, _ := f.Bytes(name)
			tensors = append(tensors, Tensor{name, info.DType, info.Shape, FromBytes(data)})
		}
		again := filepath.Join(t.TempDir(), "again.safetensors")
		if err := Write(again, tensors, f.Metadata()); err != nil {
			return err
		}
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(again)
		if err != nil {
			return err
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s: written again it differs", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count == 0 {
		t.Fatalf("%s holds no safetensors file", golden)
	}
}

func TestBF16Rounding(t *testing.T) {
	for _, tc := range []struct {
		x    float32
		want uint16
	}{
		{0, 0}, {float32(math.Copysign(0, -1)), 0x8000}, {1, 0x3f80}, {-2, 0xc000},
		{math.Float32frombits(0x3f808000), 0x3f80}, // half way, even stays
		{math.Float32frombits(0x3f818000), 0x3f82}, // half way, odd goes up
		{math.Float32frombits(0x3f808001), 0x3f81}, // above half way
		{math.Float32frombits(0x3f807fff), 0x3f80},
		{math.MaxFloat32, 0x7f80}, {float32(math.Inf(1)), 0x7f80}, {float32(math.Inf(-1)), 0xff80},
		{math.Float32frombits(0x7f800001), 0x7fc0}, // a NaN that truncation would make infinite
		{math.Float32frombits(0xffffffff), 0x7fc0}, // a NaN that rounding would make -0
		{math.Float32frombits(1), 0},
	} {
		if got := roundBF16(tc.x); got != tc.want {
			t.Errorf("%v (%#x): %#x, want %#x", tc.x, math.Float32bits(tc.x), got, tc.want)
		}
	}
}

func TestBF16IsTheNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.Uint32Range(0, 0x7f7f0000).Draw(t, "bits") // up to the largest bfloat16
		x := math.Float32frombits(bits)
		got := float64(math.Float32frombits(uint32(roundBF16(x)) << 16))
		below := float64(math.Float32frombits(bits &^ 0xffff))
		above := float64(math.Float32frombits(bits&^0xffff + 0x10000))
		distance := math.Abs(got - float64(x))
		if distance > math.Abs(below-float64(x)) || bits&0xffff != 0 && distance > math.Abs(above-float64(x)) {
			t.Fatalf("%v became %v, its neighbours are %v and %v", x, got, below, above)
		}
	})
}

func TestBF16RoundTrip(t *testing.T) {
	src := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
	}
	wide, got := make([]float32, 1<<16), make([]byte, 2<<16)
	BF16ToF32(wide, src)
	F32ToBF16(got, wide)
	for i := range 1 << 16 {
		back := binary.LittleEndian.Uint16(got[2*i:])
		if isNaN := i&0x7fff > 0x7f80; isNaN && back != 0x7fc0 || !isNaN && back != uint16(i) {
			t.Fatalf("%#04x came back as %#04x", i, back)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, "xy"))
	f.Add(fileOf(`{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[1,0],"data_offsets":[0,0]}}`, ""))
	f.Add(fileOf(`{"a":{}}`, ""))
	f.Add([]byte{})
	f.Add(fileOf(`{"__metadata__":{"":"\u0000"},"":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":[[{}]]}}`, "abcd"))
	f.Add(fileOf(`{"a":{"dtype":"F64","shape":[9223372036854775807],"data_offsets":[0,-1]}}`, ""))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path, again := filepath.Join(dir, "fuzz.safetensors"), filepath.Join(dir, "again.safetensors")
		writeBytes(t, path, b)
		var file *File
		var err error
		// An entry of the header is decoded into a map, a struct and slices.
		bounded.Run(t, len(b), 200, func() { file, err = Open(path) })
		if err != nil {
			if !strings.HasPrefix(err.Error(), path+": ") {
				t.Fatalf("an error without its file: %v", err)
			}
			return
		}
		defer file.Close()
		total := 0
		var tensors []Tensor
		for _, name := range file.Names() {
			info, _ := file.Info(name)
			data, ok := file.Bytes(name)
			if !ok || int64(len(data)) != info.NumBytes() || info.NumElements()*info.DType.Size() != info.NumBytes() {
				t.Fatalf("tensor %q: %+v with %d bytes", name, info, len(data))
			}
			total += len(data)
			tensors = append(tensors, Tensor{name, info.DType, info.Shape, FromBytes(data)})
		}
		if total != len(file.data) {
			t.Fatalf("tensors hold %d bytes, the data %d", total, len(file.data))
		}
		if err := Write(again, tensors, file.Metadata()); err != nil {
			t.Fatal(err)
		}
		rewritten := mustOpen(t, again)
		if !cmp.Equal(rewritten.Names(), file.Names()) || !cmp.Equal(rewritten.Metadata(), file.Metadata()) {
			t.Fatalf("%q %q was %q %q", rewritten.Names(), rewritten.Metadata(), file.Names(), file.Metadata())
		}
		for _, name := range file.Names() {
			was, _ := file.Info(name)
			is, _ := rewritten.Info(name)
			before, _ := file.Bytes(name)
			after, _ := rewritten.Bytes(name)
			if is.DType != was.DType || !cmp.Equal(is.Shape, was.Shape) || !bytes.Equal(before, after) {
				t.Fatalf("tensor %q: %+v was %+v", name, is, was)
			}
		}
	})
}

// FuzzReadIndex: an index names files of its own folder and no others.
func FuzzReadIndex(f *testing.F) {
	for _, text := range []string{`{"metadata":{},"weight_map":{"a":"model-00001-of-00002.safetensors"}}`, `{"weight_map":{"a":"../x"}}`,
		`{"weight_map":{"a":"/etc/passwd"}}`, `{"weight_map":{"a":"."}}`, `{"weight_map":[]}`, `{`} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "model.safetensors.index.json")
		writeBytes(t, path, b)
		var shards map[string]string
		var err error
		bounded.Run(t, len(b), 200, func() { shards, err = readIndex(path) })
		if err != nil {
			return
		}
		for tensor, shard := range shards {
			if filepath.Dir(filepath.Join(dir, shard)) != filepath.Clean(dir) {
				t.Fatalf("tensor %q is looked for in %q", tensor, shard)
			}
		}
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "safetensors")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "adapter_model.safetensors")
	data := make([]byte, 2*4)
	F32ToBF16(data, []float32{1, 2, 3, 4})
	err = Write(path, []Tensor{{Name: "lora_A.weight", DType: BF16, Shape: []int64{2, 2}, Data: FromBytes(data)}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		raw, _ := f.Bytes(name)
		values := make([]float32, info.NumElements())
		BF16ToF32(values, raw)
		fmt.Println(name, info.DType, info.Shape, values)
	}
	// Output: lora_A.weight BF16 [2 2] [1 2 3 4]
}
