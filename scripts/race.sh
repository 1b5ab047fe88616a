#!/usr/bin/env bash
# Runs the tests under the race detector: those of the packages given, and with ./...
# also the whole runs in which the most happens at once.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=1
# Each program with the detector in it stays for a second at its end, and there are
# hundreds. The tests of the platform pass this on to its components.
export GORACE=atexit_sleep_ms=50
# What measures, waits for other programs, or goes through much data one by one says
# little of races and takes minutes; and under the detector a sync.Pool forgets at
# random, so that allocations do not count.
skip='^TestTruth|TestRabbitMQAgreesWithItsSockets|TestSourcesAgree|TestPublishedTopology$|TestKilledInstanceLosesNothing|TestLimitsThroughSystemd'
skip+='|TestNoAllocationsInEveryCodec|TestMemoryDoesNotGrow|TestLargeRun|InBrowser$|TestServer$|TestServerWithAFullDisk|TestBookIsBounded|TestBurstIsNotDropped'
skip+='|TestOpenTruncated|TestOpenAfterBadCopy|TestPushReplacesDamaged|TestRemoveKeepsAgent|TestCPUNeverDecreases|TestQoS1SurvivesRestartOfNATS|TestStay$'
mapfile -t packages < <(scripts/race-packages.sh "$@")
((${#packages[@]} > 0)) || { echo "scripts/race.sh: none of $* is run under the race detector: see scripts/race-packages.sh" >&2; exit 1; }
go test -race -count=1 -timeout 15m -p 2 -skip "$skip" "${packages[@]}"
if [[ $* == ./... ]]; then
	go test -race -count=1 -timeout 15m -run '^(TestRunEndToEnd|TestInterrupt|TestAgentDies|TestComponentFails|TestLinkDrops|TestSkipCell|TestFaultCut|TestResume)$' ./campaign
fi
