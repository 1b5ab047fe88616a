#!/usr/bin/env bash
# Runs InfluxDB 1.8 in the foreground on 127.0.0.1:8086 (PORT=…), with its data in
# .cache/influxd, and prints the settings for an experiment's influxdb block.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${PORT:-8086}
dir=$PWD/.cache/influxd
mkdir -p "$dir"
cat >"$dir/influxd.conf" <<CONF
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = "$dir/meta"
[data]
  dir = "$dir/data"
  wal-dir = "$dir/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:$port"
  flux-enabled = true
  log-enabled = false
[logging]
  level = "warn"
  suppress-logo = true
CONF

# ask sends a request without a body and prints the status line.
ask() {
	exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
	printf '%s %s HTTP/1.0\r\nContent-Length: 0\r\n\r\n' "$1" "$2" >&3
	head -n 1 <&3
	exec 3>&-
}

if ask GET /health >/dev/null 2>&1; then
	echo "influxd.sh: something listens on 127.0.0.1:$port already: stop it, or choose another with PORT=…" >&2
	exit 1
fi

HOME=$dir .cache/bin/influxd run -config "$dir/influxd.conf" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true' EXIT
trap 'exit 0' INT TERM

for ((i = 0; ; i++)); do
	kill -0 "$server" 2>/dev/null || { echo "influxd.sh: the server ended, see above" >&2; exit 1; }
	if [[ $(ask GET /health 2>/dev/null) == *" 200 "* ]]; then
		break
	fi
	((i < 600)) || { echo "influxd.sh: the server is not ready after a minute" >&2; exit 1; }
	sleep 0.1
done
ask POST '/query?q=CREATE%20DATABASE%20bela' >/dev/null

cat <<SETTINGS

InfluxDB is ready; its data is in .cache/influxd. Ctrl-C stops it. In another terminal:

  export INFLUX_URL=http://127.0.0.1:$port
  export INFLUX_ORG=bela
  export INFLUX_BUCKET=bela
  export INFLUX_TOKEN=

SETTINGS
wait "$server"
