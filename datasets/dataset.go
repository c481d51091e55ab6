package datasets

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
)

// Options say how rows become samples. The zero value cuts nothing and learns replies.
type Options struct {
	// MaxLength cuts a row to this many tokens, from the right; 0 cuts nothing.
	MaxLength int
	// LossOn is LossOnReplies, the meaning of "": assistant turns with their ends, completions, whole texts; or
	// LossOnAll: every token after the first. Labels that the file gives count in both.
	LossOn string
}

// Dataset is a JSONL file, read and rendered as tokens.
type Dataset struct {
	// Path is the file as it was named to Open.
	Path string
	// SHA256 of the file's bytes, in hexadecimal.
	SHA256 string
	// Samples are the rows in the order of the file, without those that were dropped.
	Samples []Sample
	// Truncated rows are in Samples without their ends; TruncatedTokens were cut from them.
	Truncated, TruncatedTokens int
	// Dropped rows had nothing left to learn after the cut.
	Dropped int

	turns      int
	replyWords []int
}

// maxLine is the longest line that is read, in bytes. The longest row that a Gemma can learn, 131,072 tokens, is half a
// megabyte of text, or two as input_ids and labels. One word of 8 MiB takes the tokenizer a gigabyte; a file without
// line ends, taken for a line, would take all memory.
const maxLine = 8 << 20

// Open reads the JSONL file at path. See the package comment for the forms of a row. Blank lines are skipped;
// a byte order mark at the start and Windows line ends are read over. A line of more than 8 MiB is a problem.
//
// Errors: up to 20 problems with their lines, one a line of the message, and how many more there are;
// errors.Is(err, ErrInvalid) holds for all of them, and errors.Is(err, fs.ErrNotExist) for a file that is not
// there. A file without rows, or of which every row was dropped, is an error. So is the first conversation when the
// model's chat template is one that the tokenizer does not support; rows of other forms need none.
func Open(path string, tok Tokenizer, opt Options) (*Dataset, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	return read(path, f, tok, opt)
}

// read is Open for an open file.
func read(path string, f io.Reader, tok Tokenizer, opt Options) (*Dataset, error) {
	lossOn := opt.LossOn
	switch lossOn {
	case "":
		lossOn = LossOnReplies
	case LossOnReplies, LossOnAll:
	default:
		return nil, &Problem{Path: path, Text: "loss_on must be replies or all, got " + shorten(opt.LossOn)}
	}

	d := &Dataset{Path: path}
	found := &problems{path: path}
	hash := sha256.New()
	lines := bufio.NewReaderSize(io.TeeReader(f, hash), 1<<16)
	rows := 0
	for n := 1; ; n++ {
		line, length, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, unreadable(path, err)
		}
		last := err != nil
		if length > maxLine {
			rows++
			found.add(n, faultf("", "the line has %d bytes, want at most %d in a row: is the file JSONL, one object a line?",
				length, maxLine))
			if last {
				break
			}
			continue
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if line = bytes.Trim(line, " \t\r\n"); len(line) > 0 {
			rows++
			if rows == 1 && (string(line) == "[" || string(line) == "{") {
				return nil, &Problem{Path: path, Line: n, Text: "a JSON value starts that goes over several lines, " +
					"want JSONL: one object a line (`jq -c .[]` makes that of a JSON list)"}
			}
			faults, err := d.add(line, n, tok, lossOn, opt.MaxLength)
			if err != nil { // of the model, so that every other conversation would say it again
				found.add(n, faultf("", "%v", err))
				return nil, found.err()
			}
			found.add(n, faults...)
		}
		if last {
			break
		}
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	if rows == 0 {
		return nil, &Problem{Path: path, Text: "holds no rows"}
	}
	if len(d.Samples) == 0 {
		return nil, &Problem{Path: path, Text: faultf("", "nothing is left to learn: in all %d rows the cut to "+
			"max_length %d comes before the first token with a label", rows, opt.MaxLength).text}
	}
	d.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return d, nil
}

// readLine returns the next line with its end, and its length; of a line above maxLine only the length.
func readLine(r *bufio.Reader) (line []byte, length int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if length += int64(len(part)); length <= maxLine {
			line = append(line, part...)
		} else {
			line = nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, length, err
		}
	}
}

// add reads one line, and keeps it or counts it as dropped. An error is the tokenizer's, whatever the line.
func (d *Dataset) add(line []byte, number int, tok Tokenizer, lossOn string, maxLength int) ([]fault, error) {
	e, faults := parseExample(line)
	if len(faults) > 0 {
		return faults, nil
	}
	if lossOn == LossOnReplies && e.form == formChat && countReplies(e.Messages) == 0 {
		return []fault{faultf("messages", "no assistant message, so there is no reply to learn (loss_on: all would "+
			"learn the user's)")}, nil
	}
	e.Line = number
	s, faults, err := newSample(e, tok, lossOn)
	if err != nil || len(faults) > 0 {
		return faults, err
	}
	lost := s.cut(maxLength)
	if lost > 0 && s.TargetTokens() == 0 {
		d.Dropped++
		return nil, nil
	}
	if lost > 0 {
		d.Truncated++
		d.TruncatedTokens += lost
	}
	d.Samples = append(d.Samples, s)
	d.turns += e.turns()
	d.replyWords = append(d.replyWords, e.replyWords()...)
	return nil, nil
}
