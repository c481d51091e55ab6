#!/bin/sh
# Trains the tokenizer of models/pocket: a small SentencePiece model with Gemma 3's settings and turn tokens.
#
#	tools/pockettokenizer.sh [VOCABULARY]
#
# Reads generated text (tools/pockettext) and, so that its words get pieces of their own, the rows of
# datasets/bluey that are trained on. Writes tokenizer.model and what tools/spm2json makes of it into models/pocket.
# A new tokenizer makes the old weights useless: run `tune run configs/pocket.yaml` afterwards.
set -eu

cd "$(dirname "$0")/.."
vocabulary=${1:-3072}
out=models/pocket
rows=20000     # generated rows to count pieces in
seed=7         # not the seed of the training rows, which need not be there yet
puppy_weight=20 # times that the few puppy rows are repeated, or their words would be too rare for a piece

if ! command -v spm_train >/dev/null 2>&1; then
	echo "tune: error: spm_train is not installed" >&2
	echo "tune: hint: apt-get install sentencepiece (Debian, Ubuntu) or brew install sentencepiece (macOS)" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

go run ./tools/pockettext -rows "$rows" -valid 0 -seed "$seed" -out "$work"
go run ./tools/pockettext -plain "$work/train.jsonl" >"$work/text"
# Every printable ASCII character gets a piece; the others fall back to bytes.
awk 'BEGIN { for (i = 33; i < 127; i++) printf "%c ", i; print "" }' >>"$work/text"
i=0
while [ "$i" -lt "$puppy_weight" ]; do
	go run ./tools/pockettext -plain datasets/bluey/train.jsonl >>"$work/text"
	i=$((i + 1))
done

# As in Gemma: BPE with byte fallback, every digit alone, no normalisation, spaces kept as they are. User-defined
# pieces follow <pad> <eos> <bos> <unk>: ids 4 and 5 are the turns, 6 and 7 line breaks, 8 and 9 spaces.
nl='
'
spm_train --input="$work/text" --model_prefix="$work/tokenizer" --vocab_size="$vocabulary" \
	--model_type=bpe --byte_fallback=true --split_digits=true --character_coverage=1.0 \
	--normalization_rule_name=identity --add_dummy_prefix=false --remove_extra_whitespaces=false \
	--pad_id=0 --eos_id=1 --bos_id=2 --unk_id=3 \
	--pad_piece='<pad>' --eos_piece='<eos>' --bos_piece='<bos>' --unk_piece='<unk>' \
	--user_defined_symbols="<start_of_turn>,<end_of_turn>,$nl,$nl$nl,▁▁,▁▁▁▁" \
	--num_threads=1 --minloglevel=1

mkdir -p "$out"
cp "$work/tokenizer.model" "$out/tokenizer.model"
go run ./tools/spm2json -max-length 2048 "$out/tokenizer.model" "$out" # max_position_embeddings of config.json
