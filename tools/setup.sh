#!/bin/sh
# Makes a fresh machine ready to build tune: finds or installs libtorch, vendors the Go modules, fits gotch. With the
# argument tests it installs a browser as well, which the tests of tune serve need.
# What is there already is left alone, so that a second call takes a second. Plain POSIX sh: it runs on macOS too.
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*"; }
die() {
	echo "setup: error: $1" >&2
	[ $# -lt 2 ] || echo "setup: hint: $2" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

have go || die "go is missing" "install Go 1.26 or newer from https://go.dev/dl"
# Go 1.21 and later fetch the toolchain that go.mod asks for; earlier ones only misread go.mod.
case "$(go env GOVERSION)" in
go1.[0-9] | go1.[0-9].* | go1.1[0-9]* | go1.20*)
	die "$(go env GOVERSION) is too old" "install Go 1.26 or newer from https://go.dev/dl" ;;
esac

# fitgotch runs from the module's own sources and needs nothing vendored.
fitgotch() { go run -mod=readonly ./tools/fitgotch "$@"; }

# as_root runs a command as root, without ever asking for a password.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
can_root() { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }

apt_packages="libtorch-dev libopenblas0-openmp g++"

# apt_try installs packages quietly; what apt said is shown when it did not work out.
apt_try() {
	say "installing $*"
	log=$(mktemp)
	# The package lists of a machine may be absent or stale; they are fetched only when that shows.
	if apt_get install "$@" >"$log" 2>&1 ||
		{ apt_get update && apt_get install "$@"; } >"$log" 2>&1; then
		rm -f "$log"
		return
	fi
	cat "$log" >&2
	rm -f "$log"
	return 1
}

# apt_install installs packages that tune cannot do without.
apt_install() {
	apt_try "$@" ||
		die "apt-get could not install $*" "set LIBTORCH=/path/to/libtorch to use one that is there already"
}

# apt_get runs one of apt-get's commands without questions.
apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get \
		-o APT::Get::Assume-Yes=true -o APT::Install-Recommends=false "$@"
}

install_libtorch() {
	if [ "$(uname -s)" = Darwin ]; then
		have brew || die "libtorch is missing" \
			"install Homebrew (https://brew.sh) and run 'brew install pytorch', or set LIBTORCH=/path/to/libtorch"
		say "installing Homebrew's pytorch"
		brew install pytorch
	elif have apt-get; then
		can_root || die "libtorch is missing and installing it takes root" \
			"run 'sudo apt-get install $apt_packages', or set LIBTORCH=/path/to/libtorch"
		# shellcheck disable=SC2086 # a list
		apt_install $apt_packages
	else
		die "libtorch is missing" \
			"unpack libtorch from https://pytorch.org/get-started/locally and set LIBTORCH=/path/to/libtorch"
	fi
}

# cxx_missing reports whether the C++ compiler that Go will call is absent.
cxx_missing() {
	cxx=$(go env CXX)
	! have "${cxx%% *}"
}

install_cxx() {
	if [ "$(uname -s)" = Darwin ]; then
		die "no C++ compiler" "run 'xcode-select --install'"
	elif have apt-get && can_root; then
		apt_install g++
	else
		die "no C++ compiler" "install g++ (Debian, Ubuntu: 'sudo apt-get install g++')"
	fi
}

# Debian's libtorch calls whichever BLAS the system points to. OpenBLAS built with its own threads fights with
# libtorch's OpenMP threads for the cores; the build that uses OpenMP does not.
point_blas_at_openmp() {
	dir=$(echo /usr/lib/*/openblas-openmp)
	if [ ! -d "$dir" ]; then
		if can_root; then
			apt_install libopenblas0-openmp
			dir=$(echo /usr/lib/*/openblas-openmp)
			[ -d "$dir" ] || return 0
		else
			say "warning: libopenblas0-openmp is not installed, training will be slow:" \
				"'sudo apt-get install libopenblas0-openmp'"
			return 0
		fi
	fi
	triple=${dir%/openblas-openmp}
	triple=${triple##*/}
	for lib in libblas.so.3 liblapack.so.3 libopenblas.so.0; do
		link=/etc/alternatives/$lib-$triple
		[ -e "$link" ] && [ -e "$dir/$lib" ] || continue
		[ "$(readlink "$link")" != "$dir/$lib" ] || continue
		if can_root; then
			say "pointing $lib at OpenBLAS's OpenMP build"
			as_root update-alternatives --set "$lib-$triple" "$dir/$lib" >/dev/null
		else
			say "warning: $lib is not OpenBLAS's OpenMP build, training will be slow:" \
				"'sudo update-alternatives --set $lib-$triple $dir/$lib'"
		fi
	done
}

# browser_found reports whether there is a browser for the tests. Ubuntu's chromium-browser may be a script that only says
# where to get the real one.
browser_found() {
	for browser in "${TUNE_CHROME:-chromium}" chromium chromium-browser google-chrome \
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
		if have "$browser" && "$browser" --version 2>/dev/null | grep -q Chrom; then return 0; fi
	done
	return 1
}

# Without a browser the tests that need one are skipped: that is no reason to have none of the others.
install_browser() {
	if have apt-get && can_root && apt_try chromium && browser_found; then return; fi
	say "warning: no Chromium, so the page of tune serve is not tested:" \
		"install chromium, or name one in TUNE_CHROME"
}

if ! found=$(fitgotch -show 2>&1); then
	case "$found" in
	*"no libtorch found"*) install_libtorch ;;
	*)
		echo "$found" >&2
		exit 1
		;;
	esac
	found=$(fitgotch -show)
fi
if cxx_missing; then install_cxx; fi
case "$found" in *"from Debian's libtorch-dev"*) point_blas_at_openmp ;; esac

# vendor/ is complete when every import of every package, tests and files for the other system included, is found in
# it, and it agrees with go.mod. Errors that do not speak of vendoring are the compiler's to report.
vendored() {
	[ -f vendor/modules.txt ] || return 1
	for goos in linux darwin; do
		if GOOS=$goos CGO_ENABLED=1 go list -mod=vendor -deps -test ./... 2>&1 >/dev/null | grep -q vendor; then
			return 1
		fi
	done
}
if ! vendored; then
	say "vendoring the Go modules"
	go mod vendor
fi

fitgotch
if [ "${1:-}" = tests ] && ! browser_found; then install_browser; fi
