# Sourced by the benchmarks: makes the random-weight models of make_model.py, once, in build/bench.
# python3 with numpy makes them; where a Python of one's own hides the system's, that one is looked at too.
models=build/bench
python=
for candidate in python3 /usr/bin/python3; do
	if "$candidate" -c 'import numpy' >/dev/null 2>&1; then
		python=$candidate
		break
	fi
done
if [ -z "$python" ]; then
	echo "bench: error: no python3 with numpy to make the models: install it, on Debian and Ubuntu 'apt-get install python3-numpy'" >&2
	exit 1
fi

# model SHAPE DTYPE makes a model unless it is there, and prints its folder.
model() {
	dir=$models/$1-$2
	if [ ! -f "$dir/bench.jsonl" ]; then # the last file that is written
		echo "bench: making $dir" >&2
		"$python" bench/make_model.py --shape "$1" --dtype "$2" --out "$dir"
	fi
	if [ ! -f "$dir/rows.jsonl" ]; then # with the tokenizer of models/pocket, whose ids are among the model's
		cp models/pocket/tokenizer* "$dir"
		"$python" bench/fold_rows.py "$dir/bench.jsonl" "$dir/rows.jsonl" 3072
	fi
	echo "$dir"
}
