#!/usr/bin/env bash
# Runs the tests under the race detector: those of the packages given, and of the
# whole runs those in which the most happens at once.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=1
# What measures, or waits for a cluster of other programs, says nothing of races; and
# under the detector a sync.Pool forgets at random, so that allocations do not count.
skip='^TestTruth|TestRabbitMQAgreesWithItsSockets|TestSourcesAgree|TestPublishedTopology$|TestLimitsThroughSystemd|TestNoAllocationsInEveryCodec'
mapfile -t packages < <(scripts/race-packages.sh "$@")
go test -race -count=1 -timeout 15m -p 2 -skip "$skip" "${packages[@]}"
go test -race -count=1 -timeout 15m -run '^(TestRunEndToEnd|TestInterrupt|TestAgentDies|TestComponentFails|TestLinkDrops|TestSkipCell|TestFaultCut|TestSpareTakesOver|TestResume)$' ./campaign
