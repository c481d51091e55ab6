// Package safetensors reads and writes safetensors files, the format in which Hugging Face keeps model weights
// and PEFT keeps adapters.
//
// A file is a length, a header and the data: eight bytes with the header's length (little-endian), a JSON object
// that gives every tensor's dtype, shape and place, then the tensors' bytes without a gap, little-endian and
// row-major. Reading maps the file into memory, so that opening a model of many gigabytes takes well under a
// millisecond and a tensor costs memory only when it is touched. Writing streams, so that a model is never held
// twice.
//
// A file is checked in full before anything of it is handed out: a truncated download, a header that lies about
// its tensors, tensors that overlap or leave holes are errors that name the file and the tensor.
//
// Source: https://github.com/huggingface/safetensors, README.md "Format" and safetensors/src/tensor.rs.
package safetensors
