#!/bin/sh
# Runs every fuzz target for FUZZTIME, ten minutes when it is not set, one after the other. What fails is left in
# testdata/fuzz of its package, where every later test run finds it. Targets may be named: tools/fuzz.sh FuzzOpen
set -eu
cd "$(dirname "$0")/.."
time=${FUZZTIME:-10m}
targets=$(grep -rl --include='*_test.go' '^func Fuzz' . | grep -v '^./vendor/' | xargs grep -Ho '^func Fuzz[A-Za-z0-9]*' |
	sed 's|/[^/]*_test.go:func | |' | sort)
[ -n "$targets" ]
echo "$targets" | while read -r package target; do
	case " ${*:-$target} " in *" $target "*) ;; *) continue ;; esac
	echo "fuzz: $package $target, $time"
	go test -mod=vendor "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" ${FUZZFLAGS:-}
done
