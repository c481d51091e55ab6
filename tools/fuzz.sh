#!/bin/sh
# Runs every fuzz target for FUZZTIME, ten minutes when it is not set, one after the other, and at the end says which
# failed. What fails is left in testdata/fuzz of its package, where every later test run finds it. Targets may be named:
# tools/fuzz.sh FuzzOpen
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-10m}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
targets=$(grep -rl --include='*_test.go' '^func Fuzz' . | grep -v '^./vendor/' | xargs grep -Ho '^func Fuzz[A-Za-z0-9]*' |
	sed 's|/[^/]*_test.go:func |:|' | sort)
failed="" ran=0
for target in $targets; do
	package=${target%:*} target=${target##*:}
	case " ${*:-$target} " in *" $target "*) ;; *) continue ;; esac
	echo "fuzz: $package $target, $time"
	ran=$((ran + 1))
	# Go makes each input that reaches new code as short as it can, a minute long where nothing else is said.
	# shellcheck disable=SC2086 # a list
	if go test -mod=vendor "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5s \
		${FUZZFLAGS:-} >"$log" 2>&1; then
		tail -n 3 "$log"
		continue
	fi
	cat "$log"
	# When the time is up in the middle of an input, Go 1.26 calls that a failure and has no input to show for it.
	if grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then continue; fi
	failed="$failed $package:$target"
done
[ "$ran" -gt 0 ] || { echo "fuzz: no such target: $*" >&2; exit 2; }
[ -z "$failed" ] || { echo "fuzz: failed:$failed" >&2; exit 1; }
