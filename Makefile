.DEFAULT_GOAL := help
SHELL := bash

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -X main.version=$(VERSION) -X main.commit=$(COMMIT)
PACKAGES ?= ./...
COUNT    ?= 20
FUZZTIME ?= 30s
DURATION ?= 2m
# Tests wait more than they compute, so twice as many run at a time as there are processors. The limit is for a slow machine.
TESTING  := -parallel=$(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN)))) -timeout=30m

.PHONY: help
help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: bin/processor
bin/processor:
	@go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/processor

.PHONY: run
run: bin/processor install ## build, then run everything on this machine (ARGS='--replicas 3')
	@exec bin/processor dev $(ARGS)

.PHONY: install
install:
	@for script in scripts/install-*; do "$$script" || exit 1; done

.PHONY: test
test: install ## all tests, with the race detector
	go test -race $(TESTING) $(PACKAGES)

.PHONY: short
short: install ## all tests once, without the race detector
	go test $(TESTING) $(PACKAGES)

.PHONY: stress
stress: install ## the tests over and over, in random order (COUNT=20 PACKAGES=./internal/...)
	go test -race -shuffle=on -count=$(COUNT) -timeout=60m $(PACKAGES)

.PHONY: fuzz
fuzz: ## every fuzz test for a while (FUZZTIME=30s)
	@grep -rloE '^func Fuzz' --include='*_test.go' cmd internal | while read -r file; do \
	  grep -oE '^func Fuzz\w*' "$$file" | while read -r _ name; do \
	    (set -x; go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "./$$(dirname "$$file")") || exit 1; \
	  done || exit 1; done

.PHONY: chaos
chaos: install ## everything that can go wrong, at once, then the checker (DURATION=2m SEED=1)
	CHAOS_DURATION=$(DURATION) CHAOS_SEED=$(SEED) go test -race -run='^TestChaos' -count=1 -timeout=0 -v ./cmd/processor

.PHONY: bench
bench: bin/processor install ## measure this machine (ARGS are those of processor bench)
	@exec bin/processor bench $(ARGS)

.PHONY: check
check: ## format, vet, lint, tidiness, build
	@unformatted=$$(gofmt -l cmd internal); [ -z "$$unformatted" ] || { echo "run gofmt -w on: $$unformatted" >&2; exit 1; }
	go vet ./...
	scripts/golangci-lint run
	go mod tidy -diff
	go build ./...

.PHONY: up
up: ## a small deployment in Docker: Postgres, NATS, three replicas
	VERSION=$(VERSION) COMMIT=$(COMMIT) docker compose up --build --detach

.PHONY: down
down: ## end it, data included
	docker compose down --volumes
