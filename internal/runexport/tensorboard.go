package runexport

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"time"

	"tune/internal/runstore"
)

// Events writes a run as TensorBoard's event file: a sequence of Event messages (tensorflow/core/util/event.proto), each in the frame
// of a TFRecord (tensorflow/core/lib/io/record_writer.h). Scalars are loss/train, loss/validation, learning_rate, grad_norm,
// tokens_per_second and memory_bytes; samples are texts. The time of a step is its own. Errors: those of w.
func Events(w io.Writer, steps []runstore.Step, evaluations []runstore.Evaluation, samples []runstore.Sample, began time.Time) error {
	e := &eventWriter{w: w}
	e.event(began, 0, message{}.text(3, "brain.Event:2")) // file_version, without which TensorBoard reads nothing
	for _, x := range evaluations {
		if x.Step == 0 {
			e.scalar(x.At, 0, "loss/"+x.Split, float64(x.Loss))
		}
	}
	for _, x := range samples {
		if x.Step == 0 {
			e.sample(x)
		}
	}
	for _, s := range steps {
		e.scalar(s.At, s.Step, "loss/train", float64(s.Loss))
		e.scalar(s.At, s.Step, "learning_rate", float64(s.LearningRate))
		e.scalar(s.At, s.Step, "grad_norm", float64(s.GradNorm))
		e.scalar(s.At, s.Step, "tokens_per_second", float64(s.TokensPerSecond))
		if s.MemoryBytes > 0 {
			e.scalar(s.At, s.Step, "memory_bytes", float64(s.MemoryBytes))
		}
	}
	for _, x := range evaluations {
		if x.Step > 0 {
			e.scalar(x.At, x.Step, "loss/"+x.Split, float64(x.Loss))
		}
	}
	for _, x := range samples {
		if x.Step > 0 {
			e.sample(x)
		}
	}
	return e.err
}

// eventWriter writes events and keeps the first error.
type eventWriter struct {
	w   io.Writer
	err error
}

// scalar writes one number; none that is not finite, which TensorBoard would draw as the last one.
func (e *eventWriter) scalar(at time.Time, step int64, tag string, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	e.summary(at, step, message{}.text(1, tag).float(2, float32(value))) // Summary.Value: tag, simple_value
}

// sample writes a prompt with its reply as a text: a string tensor of one element, with the name of the plug-in that shows it.
func (e *eventWriter) sample(x runstore.Sample) {
	metadata := message{}.bytes(1, message{}.text(1, "text"))                                                       // SummaryMetadata.plugin_data.plugin_name
	shape := message{}.bytes(2, message{}.varint(1, 1))                                                             // TensorShapeProto.dim.size
	tensor := message{}.varint(1, 7).bytes(2, shape).text(8, "**"+x.Prompt+"**\n\n"+x.Reply)                        // DT_STRING, tensor_shape, string_val
	e.summary(x.At, x.Step, message{}.text(1, "sample/"+digits(x.PromptIndex)).bytes(9, metadata).bytes(8, tensor)) // tag, metadata, tensor
}

func digits(n int) string { return string(rune('0'+n/10%10)) + string(rune('0'+n%10)) }

func (e *eventWriter) summary(at time.Time, step int64, value message) {
	e.event(at, step, message{}.bytes(5, message{}.bytes(1, value))) // Event.summary, Summary.value
}

// event writes one Event: its time, its step and what it says.
func (e *eventWriter) event(at time.Time, step int64, what message) {
	if e.err != nil {
		return
	}
	m := message{}.double(1, float64(at.UnixMilli())/1000)
	if step != 0 {
		m = m.varint(2, uint64(step))
	}
	m = append(m, what...)
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(m)))
	frame := binary.LittleEndian.AppendUint32(length, maskedCRC(length))
	frame = append(frame, m...)
	frame = binary.LittleEndian.AppendUint32(frame, maskedCRC(m))
	_, e.err = e.w.Write(frame)
}

// maskedCRC is the checksum of a TFRecord: CRC-32C, rotated and shifted (tensorflow/core/lib/hash/crc32c.h), so that the checksum of
// data that holds checksums stays a good one.
func maskedCRC(b []byte) uint32 {
	crc := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// message is a protocol buffer as far as it is written: fields in a row (protobuf.dev/programming-guides/encoding).
type message []byte

func (m message) key(field, wire uint64) message { return binary.AppendUvarint(m, field<<3|wire) }

func (m message) varint(field, v uint64) message { return binary.AppendUvarint(m.key(field, 0), v) }

func (m message) double(field uint64, v float64) message {
	return binary.LittleEndian.AppendUint64(m.key(field, 1), math.Float64bits(v))
}

func (m message) float(field uint64, v float32) message {
	return binary.LittleEndian.AppendUint32(m.key(field, 5), math.Float32bits(v))
}

func (m message) bytes(field uint64, b message) message {
	return append(binary.AppendUvarint(m.key(field, 2), uint64(len(b))), b...)
}

func (m message) text(field uint64, s string) message { return m.bytes(field, message(s)) }
