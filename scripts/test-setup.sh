#!/usr/bin/env bash
# Gets what the test suites need beyond Go: test-setup.sh INFLUXD_MODULE@VERSION
# Debian packages where it runs as root, and a real InfluxDB server. Where it
# cannot, it says which suites will be left out and why; with CI=true it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

# command, Debian package, and the suite that needs it
needs=(
	"sshd openssh-server SSH against OpenSSH's own server"
	"mosquitto mosquitto MQTT against a second broker"
	"ip iproute2 many hosts on one machine"
	"nft nftables many hosts on one machine"
	"busctl systemd limits through a real systemd"
	"dbus-daemon dbus limits through a real systemd"
	"iptables iptables faults: a network that is cut"
	"tc iproute2 faults: a slow network"
	"mosquitto_sub mosquitto-clients recipes: Redis beside mosquitto"
	"redis-server redis-server recipes: Redis beside mosquitto"
	"nats-server nats-server recipes: NATS"
	"rabbitmq-server rabbitmq-server recipes: RabbitMQ"
	"tmux tmux dashboard in a real terminal"
	"chromium chromium pages in a real browser"
)

left_out=0
leave_out() {
	echo "left out: $1: $2"
	left_out=1
}

# have also looks where Debian puts servers, which is not on every user's PATH.
have() { PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin command -v "$1" >/dev/null; }

# install_packages installs what it can of the Debian packages given, each by
# itself, for one that is missing must not keep the others out.
install_packages() {
	local policy=/usr/sbin/policy-rc.d log=.cache/apt.log package
	local apt=(timeout -k 10 300 apt-get -q -y -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=120)
	export DEBIAN_FRONTEND=noninteractive
	mkdir -p .cache
	# Debian starts a server when it installs it, unless this file says no.
	if [[ ! -e $policy ]]; then
		trap "rm -f $policy" EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	"${apt[@]}" update >"$log" 2>&1 || tail -n 3 "$log"
	for package; do
		echo "installing $package …"
		"${apt[@]}" install --no-install-recommends "$package" >>"$log" 2>&1 || tail -n 3 "$log"
	done
}

missing=()
for need in "${needs[@]}"; do
	read -r command package suite <<<"$need"
	have "$command" || missing+=("$package")
done
if ((${#missing[@]} > 0)); then
	if [[ $(id -u) != 0 ]]; then
		why="not root"
	elif ! have apt-get; then
		why="no apt-get here"
	else
		why="apt-get could not install it, see .cache/apt.log"
		install_packages "${missing[@]}"
	fi
fi
for need in "${needs[@]}"; do
	read -r command package suite <<<"$need"
	have "$command" || leave_out "$suite" "$command is missing (Debian: $package): $why"
done

if [[ -z ${BELA_INFLUXD:-} ]] && ! scripts/tool.sh "$1"; then
	leave_out "InfluxDB, real server" "it could not be built"
fi

if ((left_out)) && [[ ${CI:-} == true ]]; then
	echo "test-setup.sh: with CI=true no suite may be left out" >&2
	exit 1
fi
