package tokenizer

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// protoBytes, protoVarint and protoFloat write one field of a protobuf message.
func protoBytes(b []byte, number uint64, value string) []byte {
	b = binary.AppendUvarint(b, number<<3|wireBytes)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func protoVarint(b []byte, number, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, number<<3|wireVarint), value)
}

func protoFloat(b []byte, number uint64, value float32) []byte {
	return binary.LittleEndian.AppendUint32(binary.AppendUvarint(b, number<<3|wireFixed32), math.Float32bits(value))
}

var kindNumbers = map[kind]uint64{
	normal: pieceNormal, unknown: pieceUnknown, control: pieceControl, fixed: pieceUserDefined,
	byteful: pieceByte, unused: pieceUnused,
}

func pieceMessage(p spPiece) string {
	b := protoBytes(nil, 1, p.text)
	b = protoFloat(b, 2, p.score)
	return string(protoVarint(b, 3, kindNumbers[p.kind]))
}

// gemmaTrainer and gemmaNormalizer are the settings of a model like Gemma's.
func gemmaTrainer() []byte {
	b := protoVarint(nil, 3, modelTypeBPE)
	b = protoVarint(b, 35, 1)
	for i, name := range []string{"<unk>", "<bos>", "<eos>", "<pad>"} {
		b = protoBytes(b, uint64(45+i), name)
	}
	return b
}

func gemmaNormalizer() []byte { return protoVarint(protoVarint(nil, 3, 0), 4, 0) }

// modelBytes returns a tokenizer.model.
func modelBytes(pieces []spPiece, trainer, normalizer []byte) []byte {
	var b []byte
	for _, p := range pieces {
		b = protoBytes(b, 1, pieceMessage(p))
	}
	b = protoBytes(b, 2, string(trainer))
	return protoBytes(b, 3, string(normalizer))
}

// basePieces are the pieces that every test vocabulary has: marks, fixed text and bytes.
func basePieces() []spPiece {
	pieces := []spPiece{{"<pad>", 0, control}, {"<eos>", 0, control}, {"<bos>", 0, control}, {"<unk>", 0, unknown}}
	for _, text := range []string{"<unused0>", startOfTurn, endOfTurn, "\n", "\n\n", "▁▁", "▁▁▁", "<b>",
		"[multimodal]"} {
		pieces = append(pieces, spPiece{text, 0, fixed})
	}
	for i := range 256 {
		pieces = append(pieces, spPiece{fmt.Sprintf("<0x%02X>", i), 0, byteful})
	}
	return pieces
}

// learned adds normal pieces with falling scores, as training gives them.
func learned(pieces []spPiece, texts ...string) []spPiece {
	for i, text := range texts {
		pieces = append(pieces, spPiece{text, -float32(i + 1), normal})
	}
	return pieces
}

// writeFile puts a file in a fresh folder.
func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func openModelBytes(t testing.TB, raw []byte) *Tokenizer {
	t.Helper()
	tk, err := OpenModel(writeFile(t, modelFileName, raw))
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// openJSONOf converts a tokenizer.model, lets edit change the result, and opens it.
func openJSONOf(t testing.TB, model []byte, edit func(file map[string]any)) (*Tokenizer, error) {
	t.Helper()
	raw, _, err := ModelToJSON(model, 512)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		var file map[string]any
		if err := json.Unmarshal(raw, &file); err != nil {
			t.Fatal(err)
		}
		edit(file)
		if raw, err = json.Marshal(file); err != nil {
			t.Fatal(err)
		}
	}
	return OpenJSON(writeFile(t, jsonFileName, raw))
}

// miniModel is a vocabulary small enough to follow by hand.
func miniModel() []byte {
	return modelBytes(learned(basePieces(), "▁t", "he", "▁the", "re", "▁", "t", "h", "e", "r", "o", "f", "<", ">", "_",
		"u", "s", "m", "d", "l", "a", "c"), gemmaTrainer(), gemmaNormalizer())
}

// openBytesAt writes a file and opens it, inside a property.
func openBytesAt(t *rapid.T, path string, raw []byte, open func(string) (*Tokenizer, error)) *Tokenizer {
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	tk, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}
