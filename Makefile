# bela: build, test and check. Plain GNU make and bash; "make help" lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
export CGO_ENABLED ?= 0

# The tools' versions. Each is built once, into .cache/bin.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
INFLUXD       := github.com/influxdata/influxdb/cmd/influxd@v1.8.10

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)

# What "make run" runs: make run RUN_ARGS="experiments/qos1.hcl -view plain"
RUN_ARGS ?= experiments/qos1.hcl -var measure=15s -var warmup=3s -var drain=10s
# Packages for race and bench, and how long each fuzz function runs.
PACKAGES ?= ./...
FUZZTIME ?= 10s

AGENT_SOURCES := $(shell find agents measure cmd/bela-agent cmd/bela-platform provision/agentbin -name '*.go' -not -name '*_test.go') go.mod go.sum
AGENTS_BUILT  := provision/agentbin/dist/index.json

.PHONY: help build run test race bench drills lint fuzz testbed testbed-down influxd tools clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

build: .cache/agents.stamp ## build the controller, with its agents inside, at bin/bela
	go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/bela ./cmd/bela

# The agents are built again when their sources or the version change, or when
# they are gone. pack itself leaves alone what came out the same.
.cache/agents.stamp: $(AGENT_SOURCES) .cache/version $(if $(wildcard $(AGENTS_BUILT)),,FORCE)
	go run ./provision/agentbin/pack -version '$(VERSION)'
	@touch $@

.cache/version: FORCE
	@mkdir -p .cache
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' > $@

run: build ## build, and run an experiment on the loopback lab (RUN_ARGS="FILE -var …")
	bin/bela run $(RUN_ARGS)

test: build ## run all tests; as root it installs what they need, else it says what is left out
	scripts/test-setup.sh $(INFLUXD)
	scripts/test.sh

race: ## run the tests under the race detector (PACKAGES=./influx/…)
	scripts/race.sh $(PACKAGES)

bench: ## run the benchmarks (PACKAGES=./influx/…)
	go test -run '^$$' -bench . -benchmem -timeout 30m -p 1 $(PACKAGES)

drills: build ## as root: everything that may happen to a campaign, at full length (about 15 minutes); writes docs/reliability.md
	scripts/test-setup.sh $(INFLUXD)
	BELA_DRILL=1 BELA_DRILL_TABLE=$(CURDIR)/docs/reliability.md PATH=$$PATH:/usr/sbin:/sbin go test -v -count=1 -timeout 60m -run '^(TestDrills|TestKilled.*)$$' ./cmd/bela
	BELA_DRILL=1 go test -count=1 -timeout 60m -run '^(TestHostileAgent|TestLinkDrops|TestSpareTakesOver|TestGoesOnWithout|TestStopsWhenANodeIsLost)$$' ./campaign

lint: ## gofmt, go vet, golangci-lint, module checksums, and which package may import which
	scripts/tool.sh $(GOLANGCI_LINT)
	scripts/lint.sh

fuzz: ## run every fuzz function for a short time (FUZZTIME=10s)
	scripts/fuzz.sh $(FUZZTIME)

testbed: ## as root: N hosts on this machine, network namespaces with OpenSSH, until testbed-down (N=4 GATEWAY=1 NAME=testbed)
	go run ./nodes/netns/testbed up -name '$(or $(NAME),testbed)' -n '$(or $(N),4)' $(if $(filter-out 0,$(GATEWAY)),-gateway)

testbed-down: ## remove what testbed made, or what is left of it
	go run ./nodes/netns/testbed down -name '$(or $(NAME),testbed)'

influxd: ## start a real InfluxDB 1.8 on 127.0.0.1:8086 and print the settings to use with it
	scripts/tool.sh $(INFLUXD)
	scripts/influxd.sh

tools: ## build the pinned tools into .cache/bin
	scripts/tool.sh $(GOLANGCI_LINT)
	scripts/tool.sh $(INFLUXD)

clean: ## remove what was built; the tools in .cache/bin stay
	rm -rf bin .cache/agents.stamp .cache/version .cache/test .cache/influxd
	find provision/agentbin/dist -type f -not -name README.md -delete
