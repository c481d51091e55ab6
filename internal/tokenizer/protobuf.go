package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The wire types of a protobuf field. Groups (3 and 4) are long out of use and refused.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// protoField is one field of a message: its number, and its value in the form that the wire type has.
type protoField struct {
	number int
	wire   int
	value  uint64 // varint, fixed32, fixed64
	bytes  []byte // a string or a message, part of the input
}

// walkProto calls visit for every field of a message in order. Source: protobuf.dev, "Encoding".
func walkProto(message []byte, visit func(protoField) error) error {
	for rest := message; len(rest) > 0; {
		at := len(message) - len(rest)
		field, n, err := readField(rest)
		if err != nil {
			return fmt.Errorf("byte %d of %d: %w", at, len(message), err)
		}
		if err := visit(field); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

var errCut = errors.New("the field is cut off")

// readField reads the field at the start of b and returns how long it is.
func readField(b []byte) (protoField, int, error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return protoField{}, 0, errCut
	}
	if tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return protoField{}, 0, fmt.Errorf("field number %d is not valid", tag>>3)
	}
	field := protoField{number: int(tag >> 3), wire: int(tag & 7)}
	rest := b[n:]
	switch field.wire {
	case wireVarint:
		value, size := binary.Uvarint(rest)
		if size <= 0 {
			return field, 0, errCut
		}
		field.value = value
		return field, n + size, nil
	case wireFixed64:
		if len(rest) < 8 {
			return field, 0, errCut
		}
		field.value = binary.LittleEndian.Uint64(rest)
		return field, n + 8, nil
	case wireFixed32:
		if len(rest) < 4 {
			return field, 0, errCut
		}
		field.value = uint64(binary.LittleEndian.Uint32(rest))
		return field, n + 4, nil
	case wireBytes:
		length, size := binary.Uvarint(rest)
		if size <= 0 || length > uint64(len(rest)-size) {
			return field, 0, errCut
		}
		field.bytes = rest[size : size+int(length)]
		return field, n + size + int(length), nil
	}
	return field, 0, fmt.Errorf("field %d has the wire type %d", field.number, field.wire)
}

// expect returns an error unless the field has this wire type.
func (f protoField) expect(wire int) error {
	if f.wire != wire {
		return fmt.Errorf("field %d has the wire type %d, want %d: not a SentencePiece model?", f.number, f.wire, wire)
	}
	return nil
}
