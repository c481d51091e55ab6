# tune: fine-tunes Gemma with LoRA. `make bluey` and `make test` start from nothing.
# Written for make 3.81, which macOS ships, and for any POSIX shell.

.PHONY: help setup build bluey pocket test test-long fuzz lint mac-check gguf-check bench bench-growth bench-load bench-plan clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

setup: ## find or install libtorch, vendor the Go modules, fit gotch
	@tools/setup.sh

build: setup ## bin/tune
	go build -mod=vendor -o bin/tune ./cmd/tune

bluey: build ## everything from nothing: train the 111 examples, show the chart
	bin/tune run configs/bluey.yaml
	bin/tune chart last

pocket: build ## make models/pocket anew: its text, then its weights (half an hour on two cores)
	go run -mod=vendor ./tools/pockettext
	bin/tune run configs/pocket.yaml
	bin/tune run configs/pocket-chat.yaml --set model.path=$$(ls -d runs/*-pocket-[a-z2-9][a-z2-9][a-z2-9]/model | tail -n 1)
	bin/tune run configs/pocket-chat.yaml --set train.max_steps=700 --set seed=44 \
		--set model.path=$$(ls -d runs/*-pocket-chat-*/model | tail -n 1)
	@echo "the weights are in the last run's model folder: copy model.safetensors to models/pocket to ship them"

test: ## everything from nothing: build, all tests
	@tools/setup.sh tests
	go test -mod=vendor -timeout 20m ./...

test-long: setup ## what takes longer: many runs killed at random moments, then make fuzz
	TUNE_KILLS=40 go test -mod=vendor ./cmd/tune -run 'KilledAtAnyMoment' -timeout 60m -v
	@tools/fuzz.sh

fuzz: setup ## every parser against input that nobody meant, ten minutes each (FUZZTIME)
	@tools/fuzz.sh

lint: setup ## gofmt, vet, staticcheck, import directions
	@tools/lint.sh

mac-check: setup ## compile every cgo package for macOS on Apple silicon, with zig
	@tools/maccheck.sh

gguf-check: build ## read GGUF files with Hugging Face's reader and run them in llama.cpp, both from npm
	@tools/ggufcheck/check.sh

bench: build ## training speed and memory beside PyTorch's (SHAPES, DTYPES, CHECKPOINTING, REPEAT: see bench/train.sh)
	@bench/train.sh

bench-growth: build ## speed and peak memory against batch, row length and rank, as charts (SHAPE, DTYPES: see bench/growth.sh)
	@bench/growth.sh

bench-load: setup ## peak memory while loading a 1B model (python3 with numpy makes it)
	@bench/load.sh

bench-plan: build ## predicted beside measured peak memory (python3 with numpy makes the models)
	@bench/plan.sh

clean: ## remove what was built here; keeps vendor, runs and runs.db
	rm -rf bin
