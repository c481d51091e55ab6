// Package datasets turns JSONL files into padding-free batches with loss masks.
//
// A line of the file is an Example, in one of four forms that may be mixed:
//
//	{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
//	{"prompt": "...", "completion": "..."}
//	{"text": "..."}
//	{"input_ids": [2, 105, ...], "labels": [-100, -100, ...]}
//
// An Example becomes a Sample: token ids, and for each the label, which is the id again where it is to be learned
// and -100 where it is not. Samples become a Batch: the tokens of all rows in a line, with the places where rows
// start, and for each token its target, the token that follows it in the same row.
//
//	example  {"prompt": "two plus three is", "completion": " five"}
//	ids      <bos>  two   plus  three  is    five  <eos>
//	labels   -100   -100  -100  -100   -100  five  <eos>
//	targets  -100   -100  -100  -100   five  <eos> -100
//
// The package is pure Go and holds a file in memory: sixteen bytes a token.
package datasets
