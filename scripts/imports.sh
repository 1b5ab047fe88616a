#!/usr/bin/env bash
# Holds the packages to the order in docs/architecture.md: dependencies point one
# way, the agent stays small, and the controller carries no broker.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
# forbid PACKAGES REGEXP REASON: no package in PACKAGES may depend on one that matches.
forbid() {
	local all found
	all=$(go list -deps "$1")
	found=$(grep -E "$2" <<<"$all" || true)
	if [[ -n $found ]]; then
		echo "$1 depends on:" >&2
		sed 's/^/  /' <<<"$found" >&2
		echo "  $3" >&2
		failed=1
	fi
}

hcl='github.com/(hashicorp/hcl|zclconf/go-cty)'
ssh='golang.org/x/crypto/ssh(/|$)|github.com/(pkg/sftp|kevinburke/ssh_config|skeema/knownhosts)'
tui='charm.land/|github.com/charmbracelet/'
broker='github.com/(mochi-mqtt/server|nats-io/nats-server)'
above='bela/(experiment|nodes|provision|doctor|campaign|event|store|influx|report|live|tui|web)(/|$)'

forbid ./cmd/bela-agent "$broker|^bela/agents/platform" "the agent must stay small: the built-in platform is a program of its own"
forbid ./cmd/bela-platform "$hcl|$ssh|$tui|^$above" "what runs on a node knows nothing of the controller"
forbid ./cmd/bela-agent "$hcl|$ssh|$tui|^$above" "the agent must stay free of HCL, SSH, TUI and of everything that runs on the controller"
forbid ./agents/... "$hcl|$ssh|$tui|^$above" "what runs on a node knows nothing of the controller"
forbid ./cmd/bela "$broker" "the controller must be no broker: the built-in platform is"
forbid ./experiment '^bela/(agents|nodes|provision|campaign|store|influx|report|tui|cmd)(/|$)' "experiment is pure"
forbid ./measure '^bela/(agents|experiment|nodes|provision|campaign|store|influx|report|tui|cmd)(/|$)' "measure knows no other package of bela"
forbid ./nodes/... '^bela/(experiment|campaign|store|influx|report|tui|cmd)(/|$)' "nodes know no experiment"
forbid ./provision/... '^bela/(experiment|campaign|store|influx|report|tui|cmd)(/|$)' "provision knows no experiment"
forbid ./doctor '^bela/(campaign|store|event|influx|report|tui|cmd)(/|$)' "the doctor knows nodes and plans, and no runs"
forbid ./event '^bela/(agents|experiment|nodes|provision|campaign|store|influx|report|tui|cmd)(/|$)' "events know only measure"
forbid ./store/... '^bela/(agents|experiment|nodes|provision|campaign|influx|report|tui|cmd)(/|$)' "the store knows events and measure"
forbid ./live '^bela/(agents|experiment|nodes|provision|campaign|store|influx|report|tui|web|cmd)(/|$)'"|$tui" "what the views share knows events and measure, and no screen"
forbid ./web '^bela/(agents|experiment|nodes|provision|campaign|store|influx|report|tui|cmd)(/|$)'"|$tui" "the page only reads events"
forbid ./tui/... '^bela/(nodes|provision|influx)(/|$)|^bela/agents' "views only read"
forbid ./notify/... '^bela/(agents|experiment|nodes|provision|campaign|store|influx|report|tui|cmd)(/|$)' "notifications only read events"
forbid ./export '^bela/(agents|experiment|nodes|provision|campaign|influx|report|tui|cmd)(/|$)' "exports only read the store"
forbid ./report/... '^bela/(nodes|provision|influx|tui)(/|$)|^bela/agents' "reports only read"
exit "$failed"
