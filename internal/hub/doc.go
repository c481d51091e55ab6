// Package hub brings models from the Hugging Face Hub into the cache that Python's huggingface_hub keeps on the same
// machine, so that a model is downloaded once for all programs:
//
//	$HF_HUB_CACHE/
//	  models--google--gemma-3-1b-it/
//	    blobs/<hash>                    a file's bytes, by SHA-256 or, for small files, git's hash
//	    blobs/<hash>.incomplete         what a download that was cut off has left; the next one goes on from there
//	    refs/main                       the commit that a branch or tag was last seen at
//	    snapshots/<commit>/config.json  a relative link to ../../blobs/<hash>
//	    .no_exist/<commit>/<file>       empty: the model has no such file
//	  .locks/models--google--gemma-3-1b-it/<hash>.lock
//
// Only what tune reads is fetched: the configuration, the tokenizer and the safetensors. A file gets its name in blobs
// only after its hash was found right, so what has a name is whole.
//
// Sources: the layout is that of huggingface_hub, docs/source/en/guides/manage-cache.md and
// src/huggingface_hub/file_download.py; the variables are in its src/huggingface_hub/constants.py.
package hub
