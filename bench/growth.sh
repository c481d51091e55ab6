#!/bin/sh
# How training speed and peak memory grow with the rows in a batch, with the length of the rows and with the rank: one
# process a measurement, appended to bench/growth.jsonl, then three charts in docs. docs/performance.md tells how to read
# them. Call it as `make bench-growth`; from the environment:
#
#   SHAPE=small                          also tiny, 270m, 1b
#   DTYPES="float32 bfloat16"
#   STEPS=5                              of each measurement; the median one counts
#   BATCHES="1 2 4 8 16"                 rows of 128 tokens, rank 16
#   LENGTHS="64 128 256 512 1024 2048"   one row a batch, rank 16
#   RANKS="4 8 16 32 64 128"             4 rows of 128 tokens
#   THREADS=2                            the physical cores when absent
#   OUT=docs                             where the charts go
set -eu
cd "$(dirname "$0")/.."
. bench/models.sh

shape=${SHAPE:-small}
case $shape in
tiny | small | 270m | 1b) ;;
*)
	echo "bench: error: SHAPE: want tiny, small, 270m or 1b, got $shape" >&2
	exit 1
	;;
esac
dir=$(model "$shape" bf16)
"$python" bench/growth.py "$shape" "$dir"
go run -mod=vendor ./tools/growthchart bench/growth.jsonl "${OUT:-docs}"
