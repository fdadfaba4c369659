# Every target works on a machine that has only Go, make and bash; those that need more say so.
# `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GOLANGCI_VERSION := v2.15.0
COMPOSE_VERSION := v2.16.2
BENCHSTAT_VERSION := v0.0.0-20260908200009-22c9c6c9d4da

GOBIN := $(shell go env GOPATH)/bin
# One name per version: another project's golangci-lint is neither used nor overwritten.
GOLANGCI := $(GOBIN)/golangci-lint-$(GOLANGCI_VERSION)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

# What the tests with the race detector cover: whatever runs more than one goroutine.
RACE := ./consumers/... ./state/... ./model/factor/... ./model/als/... ./internal/...
FUZZTIME ?= 30s
STORM ?= 10m
SEED ?= 1
BASE ?= HEAD~1
COUNT ?= 10
BENCHFLAGS ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/earworm, static
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/earworm ./cmd/earworm

.PHONY: test
test: ## all tests, shuffled
	go test -shuffle=on ./...

.PHONY: race
race: ## tests of the concurrent packages with the race detector
	go test -race $(RACE)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	.ci/targets fuzz | while read -r package name; do go test -run '^$$' -fuzz "^$$name\$$" -fuzztime '$(FUZZTIME)' "$$package"; done

.PHONY: sim
sim: ## tests in virtual time, with SEED
	packages=$$(.ci/targets tag synctests); test -n "$$packages"; go test -count=1 -tags synctests -timeout 15m $$packages $(if $(filter-out 1,$(SEED)),-args -seed $(SEED))

.PHONY: crash
crash: ## tests that kill processes and cut writes
	packages=$$(.ci/targets tag crash); test -n "$$packages"; go test -count=1 -tags crash -timeout 15m $$packages

.PHONY: test-kafka
test-kafka: ## end-to-end tests on a real Apache Kafka (needs Java 17 and Maven, or EARWORM_TEST_KAFKA)
	packages=$$(.ci/targets tag kafka); test -n "$$packages"; go test -count=1 -tags kafka -timeout 20m -v $$packages

# campaign TAG,TEST: faults drawn from SEED and KILLS of them (each has a default); the last line is what was lost, duplicated and wrong.
# SEED is that of the first round; each round prints its own, which repeats it alone.
define campaign
log=$$(mktemp); trap 'rm -f "$$log"' EXIT; status=0; \
go test -count=1 -v -timeout 0 -tags $(1) -run '^$(2)$$$(if $(NODES),/^nodes=$(NODES)$$)' ./internal/chaos \
-args $(if $(KILLS),-kills $(KILLS)) $(if $(filter-out 1,$(SEED)),-seed $(SEED)) | tee "$$log" || status=1; \
grep -oE '[0-9]+ lost, [0-9]+ duplicated, [0-9]+ wrong of [0-9]+' "$$log" | tail -1 || status=1; exit $$status
endef

.PHONY: chaos
chaos: ## kills, pauses and starves processes on the embedded broker, in rounds of 100: KILLS=1000 SEED=7
	@$(call campaign,crash,TestCrash)

.PHONY: kafka-chaos
kafka-chaos: ## kills processes and brokers on a real Apache Kafka, one node and three: KILLS=200 SEED=7 NODES=3 (needs what test-kafka needs)
	@$(call campaign,kafka,TestKafka)

.PHONY: negative-control
negative-control: ## the same on a build that is wrong on purpose, which must not pass for right: KILLS=200 SEED=7
	@$(call campaign,crash,TestNegativeControl)

# verdict TEST: a test with arguments; what it says while it runs, and as the last line what was lost, duplicated and wrong.
define verdict
log=$$(mktemp); trap 'rm -f "$$log"' EXIT; status=0; \
go test -count=1 -v -timeout 0 $(1) $(if $(filter-out 1,$(SEED)),-seed $(SEED)) | tee "$$log" || status=1; \
grep -oE '[0-9]+ lost, [0-9]+ duplicated, [0-9]+ wrong of [0-9]+' "$$log" | tail -1 || status=1; exit $$status
endef

.PHONY: power-loss
power-loss: ## cuts the power of stores, in the middle of writes and openings too: N=10000 SEED=7
	@$(call verdict,-run '^TestPowerLossLeavesAPrefix$$' ./state -args -losses $(or $(N),1000))

.PHONY: poison
poison: ## broken records of every kind, and batches that unpack to a gigabyte, against the real process: N=1000000 SEED=7
	@$(call verdict,-tags crash -run '^TestPoison$$' ./internal/poison -args -records $(or $(N),100000))

.PHONY: year
year: ## two instances for a year of virtual time, with crashes in the middle of emissions: N=52 SEED=7 (N weeks)
	@$(call verdict,-tags synctests -run '^TestWeeks$$' ./internal/sim -args -weeks $(or $(N),52))

.PHONY: storm
storm: ## members join and leave every half second, for N=10m of virtual time: SEED=7
	@$(call verdict,-tags synctests -run '^TestRebalanceStorm$$' ./consumers/stream -args -storm $(or $(N),10m))

.PHONY: hot-song
hot-song: ## throughput with half of the plays on one song against without, in turn: N=300000 SEED=7
	@$(call verdict,-run '^TestHotSong$$' ./internal/bench -args -hot $(or $(N),300000))

.PHONY: cover
cover: ## coverage by package; cover.html has the lines
	go test -coverprofile=cover.out ./...
	go tool cover -html=cover.out -o cover.html

.PHONY: bench
bench: ## every short benchmark COUNT times, into bench.txt; bench-throughput has the long ones
	go test -short -run '^$$' -bench . -benchmem -count $(COUNT) ./... | tee bench.txt

.PHONY: bench-throughput
bench-throughput: build ## the figures of docs/benchmarks/throughput.md: the whole path, with latency, playlists and restore
	uptime
	GOMAXPROCS=2 bin/earworm bench --listeners 200000 --rate 20000 --restore $(BENCHFLAGS)
	GOMAXPROCS=2 bin/earworm bench --listeners 20000 --emit $(BENCHFLAGS)
	GOMAXPROCS=2 go test -run '^$$' -bench ListenerTask -benchtime 1x ./internal/bench
	uptime

.PHONY: benchcmp
benchcmp: ## compares the benchmarks of BASE and of the work tree
	dir=$$(mktemp -d); trap 'git worktree remove --force "$$dir/base"; rm -rf "$$dir"' EXIT; \
	git worktree add --quiet --detach "$$dir/base" '$(BASE)'; \
	(cd "$$dir/base" && go test -short -run '^$$' -bench . -benchmem -count $(COUNT) ./...) > "$$dir/base.txt"; \
	go test -short -run '^$$' -bench . -benchmem -count $(COUNT) ./... > "$$dir/new.txt"; \
	go run golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION) "$$dir/base.txt" "$$dir/new.txt"

$(GOLANGCI):
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	GOBIN="$$dir" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION); \
	mkdir -p '$(GOBIN)'; mv "$$dir/golangci-lint" '$@'

.PHONY: lint
lint: $(GOLANGCI) ## golangci-lint, built from source once
	$(GOLANGCI) run --allow-parallel-runners ./...

.PHONY: fmt
fmt: $(GOLANGCI) ## formats all Go files
	$(GOLANGCI) fmt ./...

.PHONY: fmt-check
fmt-check: $(GOLANGCI)
	$(GOLANGCI) fmt --diff ./...

.PHONY: vet
vet: ## go vet of every build: each set of tags must compile
	for tags in '' invariants synctests crash negativecontrol kafka; do go vet -tags "$$tags" ./...; done

.PHONY: tidy-check
tidy-check: ## go.mod and go.sum are tidy and what was downloaded is what they say
	go mod tidy -diff
	go mod verify

.PHONY: generate-check
generate-check: ## generated references are current
	go test -run 'Current|Reference' ./internal/config ./schemas

.PHONY: compose-check
compose-check: ## docker-compose.yml is valid: by docker compose, else by the library it is made of
	if docker compose version >/dev/null 2>&1; then docker compose config --quiet; \
	else go run github.com/compose-spec/compose-go/v2/cmd@$(COMPOSE_VERSION) docker-compose.yml >/dev/null; fi

.PHONY: check
check: fmt-check tidy-check generate-check compose-check lint vet test race sim crash ## all that a change must pass

.PHONY: demo
demo: ## the demo: an embedded broker, a simulated world, a playlist
	go run ./cmd/earworm demo

.PHONY: e2e
e2e: test-kafka ## the end-to-end test on a real Apache Kafka

.PHONY: up
up: ## Kafka, earworm, Prometheus and Grafana in containers (needs Docker)
	docker compose up --build --detach --wait

.PHONY: down
down: ## stops them; their data stays
	docker compose down
