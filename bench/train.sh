#!/bin/sh
# Training speed and memory beside PyTorch's: baseline.py and `tune bench train` in turns on the same rows, and how fast
# the machine multiplies matrices. docs/performance.md tells how to read it. Call it as `make bench`; from the environment:
#
#   SHAPES="tiny small 270m"      also 1b
#   DTYPES="bf16 fp32"            with CHECKPOINTING="no yes" every combination; without both, those that have a target
#   REPEAT=1                      turns of each
#   ROWS=111                      fewer for a try: the numbers then say little
#   THREADS=2                     the physical cores when absent
set -eu
cd "$(dirname "$0")/.."

die() {
	echo "bench: error: $1" >&2
	[ $# -lt 2 ] || echo "bench: hint: $2" >&2
	exit 1
}

# as_root runs a command as root, without ever asking for a password.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# find_torch sets torch to a python3 that has PyTorch and numpy.
find_torch() {
	for torch in python3 /usr/bin/python3; do
		! "$torch" -c 'import numpy, torch' >/dev/null 2>&1 || return 0
	done
	return 1
}

packages="python3-torch python3-numpy libopenblas0-openmp"
if ! find_torch; then
	command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } ||
		die "no python3 with torch and numpy, which the baseline needs" "install them, on Debian and Ubuntu 'sudo apt-get install $packages'"
	echo "bench: installing $packages" >&2
	# shellcheck disable=SC2086 # a list
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Install-Recommends=false -y install $packages >&2 ||
		die "apt-get could not install $packages"
	find_torch || die "no python3 with torch and numpy, though $packages are installed"
fi

# An unfairly slow baseline proves nothing, and tune calls the same libraries. Where PyTorch brings its own BLAS there
# are no such links, or they play no part.
dir=$(echo /usr/lib/*/openblas-openmp)
triple=${dir%/openblas-openmp}
triple=${triple##*/}
for lib in libblas.so.3 liblapack.so.3 libopenblas.so.0; do
	for link in /etc/alternatives/"$lib"-*; do
		[ -L "$link" ] || continue
		[ -d "$dir" ] || die "OpenBLAS's OpenMP build is not installed" "sudo apt-get install libopenblas0-openmp"
		[ "$(readlink "$link")" = "$dir/$lib" ] ||
			die "$lib is $(readlink "$link") and not OpenBLAS's OpenMP build: both programs would be measured too slow" \
				"sudo update-alternatives --set $lib-$triple $dir/$lib"
	done
done

. bench/models.sh
for shape in ${SHAPES:=tiny small 270m}; do
	case $shape in
	tiny | small | 270m | 1b) ;;
	*) die "SHAPES: want some of tiny, small, 270m, 1b, got $shape" ;;
	esac
	dir=$(model "$shape" bf16)
	rows=${ROWS:-111}
	if [ "$rows" != 111 ]; then # the same model with the first rows
		short=$models/$shape-bf16-$rows
		mkdir -p "$short"
		ln -sf "../${dir##*/}/config.json" "../${dir##*/}/model.safetensors" "$short"
		head -n "$rows" "$dir/bench.jsonl" >"$short/bench.jsonl"
	fi
done
export SHAPES
exec "$torch" bench/train.py
