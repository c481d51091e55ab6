#!/bin/sh
# Formatting, vet, staticcheck and the direction of imports.
set -eu
cd "$(dirname "$0")/.."

echo "lint: gofmt"
if [ -e .git ]; then
	files=$(git ls-files --cached --others --exclude-standard '*.go')
else
	files=$(find . -name '*.go' -not -path './vendor/*')
fi
for file in $files; do
	[ ! -f "$file" ] || echo "$file"
done | xargs "$(go env GOROOT)/bin/gofmt" -l | (
	bad=$(cat)
	[ -z "$bad" ] || {
		echo "lint: error: not formatted, run gofmt -w on:" >&2
		echo "$bad" >&2
		exit 1
	}
)

echo "lint: go vet"
go vet -mod=vendor ./...

echo "lint: staticcheck"
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

echo "lint: import directions"
go test -mod=vendor ./internal/layout
