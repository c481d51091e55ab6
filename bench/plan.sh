#!/bin/sh
# What tune plan predicts beside what a run then needs at its peak: within 15 % of each other on every shape, dtype
# and batch here. Each run is a process of its own and stops after a few steps, the first of which is enough for the
# memory of its batch. Call it as `make bench-plan`, or with the shapes to do: sh bench/plan.sh small 270m
set -eu
cd "$(dirname "$0")/.."
. bench/models.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# run MODEL ROWS DTYPE BATCH CHECKPOINTING STEPS [KEY=VALUE ...]
run() {
	model=$1 rows=$2 dtype=$3 batch=$4 checkpointing=$5 steps=$6
	shift 6
	printf '%-28s %-9s batch %-2s checkpointing %-5s %s ' "$model" "$dtype" "$batch" "$checkpointing" "$*"
	for set; do
		set -- "$@" --set "$set"
		shift
	done
	rm -f "$work/runs.db"
	cat >"$work/plan.yaml" <<-YAML
		name: plan
		model: {path: $PWD/$model, dtype: $dtype}
		data: {train: $PWD/$rows, max_length: 512}
		lora: {rank: 16, alpha: 32, target_modules: all-linear}
		train: {batch_size: $batch, max_steps: $steps, gradient_checkpointing: $checkpointing}
		device: cpu
		output: {dir: $work/out, database: $work/runs.db}
	YAML
	if ! ./bin/tune run "$work/plan.yaml" "$@" >"$work/log" 2>&1; then
		cat "$work/log"
		failed=1
		return
	fi
	./bin/tune runs show last --db "$work/runs.db" --json >"$work/run.json"
	"$python" - "$work/run.json" <<-'PY' || failed=1
		import json, sys
		run = json.load(open(sys.argv[1]))
		run = run.get("run", run)
		predicted, measured = run["predicted_peak_memory_bytes"], run["peak_memory_bytes"]
		ratio = predicted / measured
		steps = [s["seconds"] for s in run["steps"]]
		print(f"predicted {predicted / 2**20:5.0f} MiB, measured {measured / 2**20:5.0f} MiB, ratio {ratio:.3f};",
			f"{run['predicted_seconds'] / len(steps):.2f} s a step predicted, {sorted(steps)[len(steps) // 2]:.2f} s the median", flush=True)
		sys.exit(abs(ratio - 1) > 0.15)
	PY
}

for shape in ${*:-small 270m 1b}; do
	dir=$(model "$shape" bf16)
	case $shape in
	small)
		for dtype in float32 bfloat16; do
			for batch in 1 4 8 16; do
				for checkpointing in false true; do
					run "$dir" "$dir/rows.jsonl" $dtype $batch $checkpointing 8
				done
			done
			run "$dir" "$dir/rows.jsonl" $dtype 8 false 4 lora.use_dora=true
			run "$dir" "$dir/rows.jsonl" $dtype 8 false 4 lora.dropout=0.1
			run "$dir" "$dir/rows.jsonl" $dtype 8 false 4 lora.use_dora=true lora.dropout=0.1
			run "$dir" "$dir/rows.jsonl" $dtype 8 false 4 method=full
		done
		run "$dir" "$dir/rows.jsonl" float32 4 false 4 data.pad_to_max_length=true
		;;
	270m)
		for batch in 1 4 8; do
			for checkpointing in false true; do
				run "$dir" "$dir/rows.jsonl" float32 $batch $checkpointing 3
			done
		done
		run "$dir" "$dir/rows.jsonl" bfloat16 4 false 2
		run "$dir" "$dir/rows.jsonl" bfloat16 4 true 2
		;;
	1b)
		run "$dir" "$dir/rows.jsonl" float32 4 false 2
		run "$dir" "$dir/rows.jsonl" float32 4 true 2
		run "$dir" "$dir/rows.jsonl" bfloat16 2 false 1
		run "$dir" "$dir/rows.jsonl" bfloat16 2 true 1
		;;
	esac
done
exit $failed
