#!/bin/sh
# Peak memory while loading a 1B model: at most 1.15 times its weights in the dtype they are trained in. Each load
# is a process of its own. Call it as `make bench-load`.
set -eu
cd "$(dirname "$0")/.."
. bench/models.sh

whole=$(model 1b bf16)
sharded=$models/1b-bf16-sharded
[ -f "$sharded/model.safetensors.index.json" ] || "$python" bench/shard_model.py "$whole" "$sharded" 3

go test -mod=vendor -c -o "$models/load.test" ./internal/model
failed=0
for dir in "$whole" "$sharded"; do
	for dtype in bfloat16 float32; do
		echo "$dir as $dtype"
		TUNE_BENCH_MODEL=$PWD/$dir "$models/load.test" -test.run '^$' -test.bench "Load/$dtype" -test.benchtime 1x | grep -E 'peak|FAIL|ratio' || failed=1
	done
done
exit $failed
