#!/bin/sh
# Proves the GGUF files of tune against programs of others: Hugging Face's reader reads their keys and tensors, and
# llama.cpp itself, as npm ships it, writes the same texts from them as tune does from the model they came from.
# Call it as `make gguf-check`: it needs bin/tune, node 20 and npm. What npm brings is kept in ~/.cache/tune-gguf-check.
set -eu
cd "$(dirname "$0")/../.."

for tool in node npm; do
	command -v "$tool" >/dev/null 2>&1 || {
		echo "gguf-check: error: $tool is missing: install Node.js 20 or newer" >&2
		exit 1
	}
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tune-gguf-check
mkdir -p "$cache"
cp tools/ggufcheck/check.mjs "$cache"
if ! cmp -s tools/ggufcheck/package.json "$cache/package.json"; then
	echo "gguf-check: installing @huggingface/gguf and node-llama-cpp"
	cp tools/ggufcheck/package.json "$cache/package.new"
	# The optional packages hold llama.cpp for every system and GPU, 700 MB: only this machine's is taken.
	(
		cd "$cache"
		rm -rf node_modules package.json package-lock.json
		cp package.new package.json
		npm install --silent --no-audit --no-fund --omit=optional --ignore-scripts
		here=$(node -p '({darwin: {arm64: "mac-arm64-metal", x64: "mac-x64"}})[process.platform]?.[process.arch] ??
			process.platform + "-" + process.arch')
		version=$(node -p 'require("./package.json").dependencies["node-llama-cpp"]')
		npm install --silent --no-audit --no-fund --no-save --omit=optional --ignore-scripts "@node-llama-cpp/$here@$version"
	) || {
		rm -f "$cache/package.json"
		echo "gguf-check: error: npm could not install the readers" >&2
		exit 1
	}
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tune() { bin/tune "$@"; }

echo "gguf-check: training an adapter of 20 steps"
tune run configs/bluey.yaml --set device=cpu --set model.dtype=float32 --set train.max_steps=20 --set sample.prompts=[] \
	--set "output.dir=$work/runs" --set "output.database=$work/runs.db" >"$work/run.log" 2>&1 || {
	cat "$work/run.log" >&2
	exit 1
}
for type in f32 f16 bf16 q8_0; do
	tune export models/pocket --to gguf --type $type --out "$work/base-$type.gguf" --db "$work/runs.db" >/dev/null
	tune export last --to gguf --merge --type $type --out "$work/merged-$type.gguf" --db "$work/runs.db" >/dev/null
done
tune export last --to gguf --out "$work/adapter.gguf" --db "$work/runs.db" >/dev/null

i=0 different=no
while read -r prompt; do
	tune generate --model models/pocket --dtype float32 --device cpu --max-new-tokens 60 "$prompt" >"$work/base.$i"
	tune generate --run last --db "$work/runs.db" --dtype float32 --device cpu --max-new-tokens 60 "$prompt" >"$work/tuned.$i"
	cmp -s "$work/base.$i" "$work/tuned.$i" || different=yes
	printf '%s' "$prompt" >"$work/prompt.$i"
	i=$((i + 1))
done <<'PROMPTS'
Why do stars twinkle?
I do not want to go to bed.
What is seven plus five?
PROMPTS

# An adapter that changes nothing would pass whatever its file held.
[ $different = yes ] || {
	echo "gguf-check: error: the adapter changes none of the replies" >&2
	exit 1
}

(cd "$cache" && node check.mjs "$work" "$i")
