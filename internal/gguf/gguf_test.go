package gguf

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"pgregory.net/rapid"

	"tune/internal/adapterfile"
	"tune/internal/bounded"
	"tune/internal/checkpoint"
	"tune/internal/golden"
	"tune/internal/safetensors"
	"tune/internal/tokenizer"
)

// Every float16 survives the way to float32 and back, and every float32 between two of them goes to the nearer one.
func TestFloat16(t *testing.T) {
	for h := range uint32(1 << 16) {
		if h&0x7c00 == 0x7c00 {
			continue // NaN and the infinities
		}
		v := fromFloat16(uint16(h))
		if got, ok := toFloat16(v); !ok || got != uint16(h) {
			t.Fatalf("%#04x is %g and comes back as %#04x, %v", h, v, got, ok)
		}
		// By definition: ±fraction·2^(exponent-10), exponent 2^-14 for the smallest.
		exponent, fraction := int(h>>10&0x1f), float64(h&0x3ff)
		want := fraction * math.Pow(2, -24)
		if exponent > 0 {
			want = (1024 + fraction) * math.Pow(2, float64(exponent-25))
		}
		if h&0x8000 != 0 {
			want = -want
		}
		if float64(v) != want {
			t.Fatalf("%#04x is %g, want %g", h, v, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float32Range(-65519, 65519).Draw(t, "v")
		h, ok := toFloat16(v)
		if !ok {
			t.Fatalf("%g is refused", v)
		}
		got := math.Abs(float64(fromFloat16(h)) - float64(v))
		for _, near := range []uint16{h - 1, h + 1} {
			if near&0x7fff == 0x7c00 || near&0x8000 != h&0x8000 {
				continue
			}
			d := math.Abs(float64(fromFloat16(near)) - float64(v))
			if d < got || d == got && h&1 == 1 {
				t.Fatalf("%g went to %g, nearer is %g", v, fromFloat16(h), fromFloat16(near))
			}
		}
	})
	for _, v := range []float32{65520, -1e9, float32(math.Inf(1)), float32(math.NaN())} {
		if _, ok := toFloat16(v); ok {
			t.Errorf("%g is taken", v)
		}
	}
}

// A block's numbers come back to within half a step of its scale, computed in float64.
func TestQ8(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float32Range(-100, 100), 32, 32).Draw(t, "values")
		b, err := appendQ8(nil, values)
		if err != nil || len(b) != 34 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		most := 0.0
		for _, v := range values {
			most = max(most, math.Abs(float64(v)))
		}
		for i, got := range decode(nil, b, Q8_0) {
			// Half a step, and what rounding the scale to float16 adds at 127 steps.
			allowed := most/127*0.5 + most*math.Pow(2, -11) + math.Pow(2, -24)*127
			if d := math.Abs(float64(got) - float64(values[i])); !(d <= allowed*1.0001) {
				t.Fatalf("%g came back as %g, allowed %g", values[i], got, allowed)
			}
		}
	})
	exact := make([]float32, 32)
	for i := range exact {
		exact[i] = float32(8 * (i - 16)) // with a largest of 127 the scale is 1 and all are exact
	}
	exact[0], exact[1] = 127, -2.5 // halves go away from zero, as ggml's roundf has it
	b, err := appendQ8(nil, exact)
	if err != nil {
		t.Fatal(err)
	}
	exact[1] = -3
	if got := decode(nil, b, Q8_0); !slices.Equal(got, exact) {
		t.Errorf("got %v, want %v", got, exact)
	}
	if _, err := appendQ8(nil, slices.Repeat([]float32{1e9}, 32)); err == nil {
		t.Error("a block without a float16 scale is taken")
	}
}

// Numbers that come in pieces are encoded as those that come at once.
func TestEncoderTakesPieces(t *testing.T) {
	values := make([]float32, 256)
	for i := range values {
		values[i] = float32(math.Sin(float64(i)))
	}
	rapid.Check(t, func(t *rapid.T) {
		to := rapid.SampledFrom([]Type{F32, F16, BF16, Q8_0}).Draw(t, "type")
		var whole, pieces bytes.Buffer
		if err := (&encoder{w: &whole, to: to}).Write(values); err != nil {
			t.Fatal(err)
		}
		e := &encoder{w: &pieces, to: to}
		for rest := values; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			if err := e.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := e.Close(); err != nil || !bytes.Equal(whole.Bytes(), pieces.Bytes()) {
			t.Fatalf("pieces differ, %v", err)
		}
	})
}

func floats(values ...float32) func(func([]float32) error) error {
	return func(each func([]float32) error) error { return each(values) }
}

func TestWriteThenOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.gguf")
	metadata := []KV{{"a", uint32(7)}, {"b", "text"}, {"c", float32(0.5)}, {"d", true}, {"e", []string{"x", ""}},
		{"f", []float32{1, 2}}, {"g", []int32{-1}}, {"h", int32(-5)}, {"i", uint64(1 << 40)}, {"j", []uint32{9}}}
	err := Write(path, metadata, []Tensor{
		{"one", F32, []int64{3}, floats(1, 2, 3)},
		{"two", BF16, []int64{2, 3}, floats(1, 2, 3, 4, 5, 6)},
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for key, want := range map[string]any{"a": uint64(7), "b": "text", "c": 0.5, "d": true, "h": int64(-5), "i": uint64(1 << 40)} {
		if got := f.Metadata[key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if got, _ := f.Metadata["e"].([]string); !slices.Equal(got, []string{"x", ""}) {
		t.Errorf("e is %v", f.Metadata["e"])
	}
	if got, _ := f.Metadata["g"].([]int64); !slices.Equal(got, []int64{-1}) {
		t.Errorf("g is %v", f.Metadata["g"])
	}
	two, err := f.Floats("two")
	if info, _ := f.Find("two"); err != nil || !slices.Equal(two, []float32{1, 2, 3, 4, 5, 6}) || !slices.Equal(info.Shape, []int64{2, 3}) {
		t.Errorf("two is %v %v, %v", info.Shape, two, err)
	}
	if _, err := f.Floats("three"); err == nil {
		t.Error("a tensor that is missing is read")
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		metadata   []KV
		tensors    []Tensor
	}{
		{"too few", "has 3 numbers, 2 came", nil, []Tensor{{"t", F32, []int64{3}, floats(1, 2)}}},
		{"too many", "has 1 numbers, more came", nil, []Tensor{{"t", F32, []int64{1}, floats(1, 2)}}},
		{"rows", "q8_0 needs rows of a multiple of 32", nil, []Tensor{{"t", Q8_0, []int64{2, 16}, floats()}}},
		{"large", "tensor t: number 1, 70000, is too large for f16", nil, []Tensor{{"t", F16, []int64{2}, floats(1, 70000)}}},
		{"no dimension", "0 dimensions", nil, []Tensor{{"t", F32, nil, floats(1)}}},
		{"tensor twice", "tensor t is there twice", nil, []Tensor{{"t", F32, []int64{1}, floats(1)}, {"t", F32, []int64{1}, floats(1)}}},
		{"key twice", "key a is there twice", []KV{{"a", true}, {"a", true}}, nil},
		{"value", "key a: a value of type int", []KV{{"a", 1}}, nil},
	} {
		dir := t.TempDir()
		err := Write(filepath.Join(dir, "x.gguf"), tc.metadata, tc.tensors)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "x.gguf") {
			t.Errorf("%s: got %v, want x.gguf and %q", tc.name, err, tc.want)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: %s is left behind", tc.name, left[0].Name())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	good := func() []byte {
		b, err := encodeHead([]KV{{"k", "v"}, {"l", []string{"x"}}}, []Tensor{{"t", F32, []int64{2, 2}, nil}})
		if err != nil {
			t.Fatal(err)
		}
		return append(b, make([]byte, 32)...)
	}
	put := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], v); return b }
	}
	for _, tc := range []struct {
		name, want string
		edit       func([]byte) []byte
	}{
		{"empty", "is no GGUF file", func([]byte) []byte { return nil }},
		{"another format", `begins with "PK`, func(b []byte) []byte { copy(b, "PK"); return b }},
		{"version", "GGUF version 1", func(b []byte) []byte { b[4] = 1; return b }},
		{"big-endian", "GGUF version 50331648", func(b []byte) []byte { copy(b[4:], []byte{0, 0, 0, 3}); return b }},
		{"many tensors", "at most 65536", put(8, 1<<60)},
		{"many keys", "at most 65536", put(16, 1<<60)},
		{"long key", "truncated?", put(24, 1<<60)},
		{"no name", "is no name", put(24, 0)},
		{"key longer than any", "a name of 65537 bytes, at most 65536", func(b []byte) []byte {
			return append(put(24, 1<<16+1)(b), make([]byte, 1<<16)...)
		}},
		{"value type", "value type 99", func(b []byte) []byte { b[33] = 99; return b }},
		{"cut head", "truncated?", func(b []byte) []byte { return b[:60] }},
		{"cut data", "bytes from byte", func(b []byte) []byte { return b[:len(b)-20] }},
	} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(path, tc.edit(good()), 0o644); err != nil {
			t.Fatal(err)
		}
		if f, err := Open(path); err == nil {
			f.Close()
			t.Errorf("%s: opened", tc.name)
		} else if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "x.gguf") {
			t.Errorf("%s: got %v, want x.gguf and %q", tc.name, err, tc.want)
		}
	}
}

// headOf returns the head of a file with these tensors at these places of the data.
func headOf(t testing.TB, tensors []Tensor, offsets ...uint64) []byte {
	t.Helper()
	b, err := encodeHead(nil, tensors)
	if err != nil {
		t.Fatal(err)
	}
	at := len(magic) + 4 + 8 + 8
	for i, tensor := range tensors {
		at += 8 + len(tensor.Name) + 4 + 8*len(tensor.Shape) + 4
		binary.LittleEndian.PutUint64(b[at:], offsets[i])
		at += 8
	}
	return b
}

// TestOpenRefusesASizeThatOverflows: 2·(2^30-1)·(2^30+1) float32 are 2^63-8 bytes; with the place where they start, a
// sum of int64 is negative and thus below any file's size.
func TestOpenRefusesASizeThatOverflows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.gguf")
	head := headOf(t, []Tensor{{"t", F32, []int64{2, 1<<30 - 1, 1<<30 + 1}, nil}}, 0)
	if err := os.WriteFile(path, append(head, make([]byte, 64)...), 0o644); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(path); err == nil {
		f.Close()
		t.Error("opened")
	} else if !strings.Contains(err.Error(), "x.gguf: tensor t: 9223372036854775800 bytes") {
		t.Error(err)
	}
}

// TestOpenRefusesTensorsThatOverlap: 65,536 tensors over the same megabytes would be gigabytes once they are read.
func TestOpenRefusesTensorsThatOverlap(t *testing.T) {
	two := []Tensor{{"a", F32, []int64{8}, nil}, {"b", F32, []int64{8}, nil}}
	for _, tc := range []struct {
		offsets []uint64
		want    string
	}{
		{[]uint64{0, 32}, ""},
		{[]uint64{32, 0}, ""}, // any order
		{[]uint64{0, 0}, "x.gguf: tensor b: starts at byte 0 of the data, overlaps a which ends at 32"},
		{[]uint64{31, 0}, "x.gguf: tensor a: starts at byte 31 of the data, overlaps b which ends at 32"},
	} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(path, append(headOf(t, two, tc.offsets...), make([]byte, 64)...), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			f.Close()
		}
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: got %v, want %q", tc.offsets, err, tc.want)
		}
	}
}

// FuzzOpen: whatever a file holds, reading it ends in a file or an error. Numbers that were read come back the same
// when they are written.
func FuzzOpen(f *testing.F) {
	b, err := encodeHead([]KV{{"k", []float32{1}}, {"general.alignment", uint32(32)}}, []Tensor{{"t", Q8_0, []int64{1, 32}, nil}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(b, make([]byte, 64)...))
	all := []Tensor{{"a", F32, []int64{2, 3}, nil}, {"b", F16, []int64{4}, nil}, {"c", BF16, []int64{1, 1, 1, 5}, nil}}
	f.Add(append(headOf(f, all, 0, 32, 64), make([]byte, 96)...))
	f.Add(append(headOf(f, []Tensor{{"t", F32, []int64{2, 1<<30 - 1, 1<<30 + 1}, nil}}, 0), make([]byte, 64)...))
	values, err := encodeHead([]KV{{"a", "text"}, {"b", []string{"x", ""}}, {"c", []int32{-1}}, {"d", true}, {"e", uint64(1)}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(values)
	dir := f.TempDir()
	path, again := filepath.Join(dir, "x.gguf"), filepath.Join(dir, "again.gguf")
	// A string of a list is 8 bytes of the file, a header of 16 in a box of 24 in a list that doubles as it grows;
	// numbers of q8_0 are widened fourfold.
	const multiple = 100
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		var tensors []Tensor
		numbers := map[string][]float32{}
		bounded.Run(t, len(b), multiple, func() {
			file, err := Open(path)
			if err != nil {
				if !strings.HasPrefix(err.Error(), path+": ") {
					t.Fatalf("an error without its file: %v", err)
				}
				return
			}
			defer file.Close()
			for _, tensor := range file.Tensors {
				values, err := file.Floats(tensor.Name)
				if _, known := types[tensor.Type]; known != (err == nil) {
					t.Fatalf("tensor %s of %s: %v", tensor.Name, tensor.Type, err)
				}
				if err != nil {
					continue
				}
				numbers[tensor.Name] = values
				tensors = append(tensors, Tensor{tensor.Name, F32, tensor.Shape, floats(values...)})
			}
		})
		if len(tensors) == 0 {
			return
		}
		if err := Write(again, nil, tensors); err != nil {
			t.Fatal(err)
		}
		file, err := Open(again)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for i, tensor := range file.Tensors {
			got, err := file.Floats(tensor.Name)
			same := slices.EqualFunc(got, numbers[tensor.Name], func(a, b float32) bool {
				return math.Float32bits(a) == math.Float32bits(b)
			})
			if err != nil || !same || tensor.Name != tensors[i].Name || !slices.Equal(tensor.Shape, tensors[i].Shape) {
				t.Fatalf("%+v was %+v, %v", tensor, tensors[i], err)
			}
		}
	})
}

// folder is a Source over a model folder, as it is.
type folder struct{ set *safetensors.Set }

func (f folder) Read(_ context.Context, name string, each func([]float32) error) error {
	b, _ := f.set.Bytes(name)
	info, _ := f.set.Info(name)
	values := make([]float32, info.NumElements())
	if info.DType == safetensors.BF16 {
		safetensors.BF16ToF32(values, b)
	} else {
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
	}
	return each(values)
}

const pocket = "../../models/pocket"

// writePocket writes models/pocket as a GGUF file.
func writePocket(t *testing.T, to Type) (*File, *checkpoint.Config, *tokenizer.Tokenizer, folder) {
	t.Helper()
	c, err := checkpoint.ReadConfig(pocket)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Open(pocket)
	if err != nil {
		t.Fatal(err)
	}
	set, err := safetensors.OpenDir(pocket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	path := filepath.Join(t.TempDir(), "pocket.gguf")
	if _, err := WriteModel(context.Background(), path, c, tok, folder{set}, ModelOptions{Name: "pocket", Type: to}); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, c, tok, folder{set}
}

// Every weight of the model is in the file, norms as 1+w, to the precision of the type.
func TestModelHoldsTheWeights(t *testing.T) {
	for to, precision := range map[Type]float64{F32: 0, BF16: 0, F16: math.Pow(2, -11), Q8_0: 0.5/127 + math.Pow(2, -11)} {
		t.Run(to.String(), func(t *testing.T) {
			f, c, _, src := writePocket(t, to)
			if len(f.Tensors) != len(c.Weights()) {
				t.Errorf("%d tensors, want %d", len(f.Tensors), len(c.Weights()))
			}
			for _, w := range c.Weights() {
				name, err := TensorName(w.Name, c.Family)
				if err != nil {
					t.Fatal(err)
				}
				got, err := f.Floats(name)
				if err != nil {
					t.Fatal(err)
				}
				err = src.Read(context.Background(), w.Name, func(want []float32) error {
					most := 0.0
					for i := range want {
						if len(w.Shape) == 1 {
							want[i]++
						}
						most = max(most, math.Abs(float64(want[i])))
					}
					allowed := precision*most + math.Pow(2, -25) // below float16's smallest numbers
					if len(w.Shape) == 1 || precision == 0 {
						allowed = 0
					}
					golden.Near(t, w.Name, got, want, allowed)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestModelMetadata(t *testing.T) {
	f, c, tok, _ := writePocket(t, BF16)
	for key, want := range map[string]any{
		"general.architecture": "gemma3", "general.type": "model", "general.name": "pocket", "general.file_type": uint64(32),
		"gemma3.context_length": uint64(c.MaxPositionEmbeddings), "gemma3.embedding_length": uint64(c.HiddenSize),
		"gemma3.block_count": uint64(c.NumHiddenLayers), "gemma3.attention.head_count": uint64(c.NumAttentionHeads),
		"gemma3.attention.sliding_window": uint64(c.SlidingWindow), "gemma3.rope.freq_base": 1e6,
		"gemma3.attention.key_length": uint64(c.HeadDim), "tokenizer.ggml.model": "llama",
		"tokenizer.ggml.bos_token_id": uint64(tok.BOS()), "tokenizer.ggml.eos_token_id": uint64(tok.EOS()),
		"tokenizer.ggml.eot_token_id": uint64(tok.EndOfTurn()), "tokenizer.ggml.add_bos_token": true,
		"tokenizer.ggml.add_space_prefix": false,
	} {
		if got := f.Metadata[key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	for _, key := range []string{"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"} {
		var n int
		switch list := f.Metadata[key].(type) {
		case []string:
			n = len(list)
		case []float64:
			n = len(list)
		case []int64:
			n = len(list)
		}
		if n != int(c.VocabSize) {
			t.Errorf("%s has %d entries, want %d", key, n, c.VocabSize)
		}
	}
}

func TestModelRefuses(t *testing.T) {
	tok, err := tokenizer.Open(pocket)
	if err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]string{
		`{"model_type": "gemma3_text", "vocab_size": 3072, "sliding_window_pattern": 2}`:                     "layer_types[1]",
		`{"model_type": "gemma3_text", "vocab_size": 3072, "final_logit_softcapping": 30}`:                   "llama.cpp caps no Gemma 3",
		`{"model_type": "gemma3_text", "vocab_size": 3072, "rope_local_base_freq": 20000}`:                   "rope_local_base_freq",
		`{"model_type": "gemma2", "vocab_size": 3072, "attn_logit_softcapping": null}`:                       "llama.cpp caps every Gemma 2",
		`{"model_type": "gemma2", "vocab_size": 3072, "rope_scaling": {"rope_type": "linear", "factor": 2}}`: "rope_scaling",
		`{"model_type": "gemma", "vocab_size": 100}`:                                                         "the tokenizer has 3072 ids, the model 100",
	} {
		c, err := checkpoint.ParseConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		_, err = WriteModel(context.Background(), filepath.Join(t.TempDir(), "x.gguf"), c, tok, nil, ModelOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

// Published models have the divisor that llama.cpp computes; others get the difference in their queries.
func TestQueryFactor(t *testing.T) {
	for config, want := range map[string]float64{
		`{"model_type": "gemma2"}`: 1,
		`{"model_type": "gemma2", "hidden_size": 4608, "num_hidden_layers": 46, "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "query_pre_attn_scalar": 144}`:      1,
		`{"model_type": "gemma3_text", "hidden_size": 5376, "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "query_pre_attn_scalar": 168}`: 1,
		`{"model_type": "gemma3_text", "query_pre_attn_scalar": 64}`: 2,
		`{"model_type": "gemma"}`:                                    1,
	} {
		c, err := checkpoint.ParseConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		weight := checkpoint.LinearName(0, "q_proj") + ".weight"
		if c.Family == checkpoint.Gemma3 {
			weight = checkpoint.NormName(0, "q_norm") + ".weight"
		}
		if got := queryFactor(c, weight); got != want {
			t.Errorf("%s: %g, want %g", config, got, want)
		}
	}
}

// adapter is a small adapter for the reference model of a family.
func adapter(t *testing.T, family string, scales ...float64) (*adapterfile.Adapter, *checkpoint.Config) {
	t.Helper()
	c, err := checkpoint.ReadConfig(filepath.Join(golden.Dir(t), family, "model"))
	if err != nil {
		t.Fatal(err)
	}
	a := &adapterfile.Adapter{Base: "base", Rank: 4, Alpha: scales[0] * 4}
	for i, scale := range scales {
		module := checkpoint.LinearModules()[i%7]
		out, in := c.LinearShape(module)
		m := adapterfile.Module{Name: checkpoint.LinearName(i/7, module), Rank: 4, In: int(in), Out: int(out), Scale: scale}
		for j := range m.Rank * m.In {
			m.A = append(m.A, float32(math.Sin(float64(j))))
		}
		for j := range m.Rank * m.Out {
			m.B = append(m.B, float32(math.Cos(float64(j))))
		}
		a.Modules = append(a.Modules, m)
	}
	return a, c
}

// What llama.cpp computes from the file, alpha/rank·B·A with the rank of B's rows, is the adapter's Scale·B·A.
func TestAdapterKeepsItsProduct(t *testing.T) {
	for name, scales := range map[string][]float64{
		"plain": {2, 2, 2}, "rsLoRA": {16 / math.Sqrt(4), 16 / math.Sqrt(4)}, "alpha pattern": {2, 2, 0.5, 3}, "nothing": {0, 0},
	} {
		for _, family := range []string{"gemma", "gemma2", "gemma3"} {
			a, c := adapter(t, family, scales...)
			path := filepath.Join(t.TempDir(), "a.gguf")
			if err := WriteAdapter(path, a, c, F32); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			alpha := f.Metadata["adapter.lora.alpha"].(float64)
			if alpha == 0 {
				t.Errorf("%s: alpha 0 is a scale of 1 to llama.cpp", name)
			}
			again, err := ReadAdapter(path, c)
			if err != nil {
				t.Fatal(err)
			}
			for i, m := range a.Modules {
				ggufName, _ := TensorName(m.Name+".weight", c.Family)
				b, err := f.Floats(ggufName + ".lora_b")
				if err != nil {
					t.Fatal(err)
				}
				for j := range b {
					// WriteModel's factor of the queries is the adapter's as well: gemma2's scalar is 20, its head_dim 24.
					got, want := alpha/float64(m.Rank)*float64(b[j]), queryFactor(c, m.Name+".weight")*m.Scale*float64(m.B[j])
					if math.Abs(got-want) > 1e-6*math.Abs(want) { // float32's own rounding
						t.Fatalf("%s %s: %s: scale·B is %g, want %g", name, family, m.Name, got, want)
					}
				}
				back := again.Modules[i]
				if back.Name != m.Name || !slices.Equal(back.A, m.A) || math.Abs(back.Scale-alpha/4) > 1e-9 {
					t.Errorf("%s %s: %s is not read back as written", name, family, m.Name)
				}
				for j := range b {
					if got, want := back.Scale*float64(back.B[j]), m.Scale*float64(m.B[j]); math.Abs(got-want) > 1e-6*math.Abs(want) {
						t.Fatalf("%s %s: %s: scale·B is read back as %g, want %g", name, family, m.Name, got, want)
					}
				}
			}
		}
	}
}

func TestAdapterRefuses(t *testing.T) {
	a, c := adapter(t, "gemma3", 2)
	dora, _ := adapter(t, "gemma3", 2)
	dora.UseDoRA, dora.Modules[0].Magnitude = true, make([]float32, dora.Modules[0].Out)
	head, _ := adapter(t, "gemma3", 2)
	head.Modules[0].Name = "lm_head"
	far, _ := adapter(t, "gemma3", 2)
	far.Modules[0].Name = checkpoint.LinearName(99, "q_proj")
	for want, tc := range map[string]struct {
		a  *adapterfile.Adapter
		to Type
	}{
		"no DoRA": {dora, F32}, "the head is the embedding": {head, F32}, "is no linear module of": {far, F32},
		"f32 or f16, not as q8_0": {a, Q8_0}, "has no modules": {&adapterfile.Adapter{}, F32},
	} {
		if err := WriteAdapter(filepath.Join(t.TempDir(), "a.gguf"), tc.a, c, tc.to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "a.gguf")
	if err := WriteAdapter(path, a, c, F16); err != nil {
		t.Fatal(err)
	}
	_, other := adapter(t, "gemma2", 2)
	if _, err := ReadAdapter(path, other); err == nil || !strings.Contains(err.Error(), "is an adapter for gemma3, the model is a gemma2") {
		t.Errorf("an adapter for another family: %v", err)
	}
	model, _, _, _ := writePocket(t, F16)
	if _, err := ReadAdapter(model.Path(), c); err == nil || !strings.Contains(err.Error(), "general.type: want adapter, got model") {
		t.Errorf("a model: %v", err)
	}
}

// Ollama runs the template with Go's text/template; what it writes is what the model has learned from.
func TestModelfileWritesTheTurns(t *testing.T) {
	text := Modelfile("./x.gguf", "./a.gguf", Sampling{TopK: new(64), TopP: new(0.95)})
	if !strings.HasSuffix(text, "PARAMETER temperature 1\nPARAMETER top_k 64\nPARAMETER top_p 0.95\nPARAMETER min_p 0\nPARAMETER repeat_penalty 1\n") {
		t.Errorf("the advice is not in %q", text)
	}
	if !strings.HasPrefix(text, "FROM ./x.gguf\nADAPTER ./a.gguf\n") || !strings.Contains(text, "PARAMETER stop <end_of_turn>\n") {
		t.Errorf("got %q", text)
	}
	_, rest, _ := strings.Cut(text, `TEMPLATE """`)
	source, _, _ := strings.Cut(rest, `"""`)
	tmpl, err := template.New("").Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Open(pocket)
	if err != nil {
		t.Fatal(err)
	}
	for _, messages := range [][]tokenizer.Message{
		{{Role: "user", Content: "Hello"}},
		{{Role: "system", Content: "Be kind."}, {Role: "user", Content: "Hello"}},
		{{Role: "system", Content: "Be kind."}, {Role: "user", Content: "One?"}, {Role: "assistant", Content: "Two."}, {Role: "user", Content: "Three?"}},
	} {
		var got strings.Builder
		if err := tmpl.Execute(&got, map[string]any{"Messages": messages}); err != nil {
			t.Fatal(err)
		}
		ids, _, err := tok.Chat(messages, true)
		if err != nil {
			t.Fatal(err)
		}
		again, err := tok.EncodeWith(got.String(), tokenizer.HuggingFace), error(nil)
		if err != nil || !slices.Equal(again, ids[1:]) { // Ollama adds <bos>
			t.Errorf("%v: the template writes %q", messages, got.String())
		}
	}
}
