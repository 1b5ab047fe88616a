# Installs Debian packages, those that are missing. $2 says who does it, $3 is
# keep where they shall stay; the rest are the packages.
by=$2
kind=package
[ "$3" != keep ] || kind=kept
shift 3
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
missing=
for package; do installed "$package" || missing="$missing $package"; done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || { say "the packages$missing are missing, and the node has no apt-get"; exit 13; }
[ "$(id -u)" = 0 ] || { say "the packages$missing are missing, and only root can install them"; exit 14; }
owned || { say "$dir is not prepared"; exit 10; }
mkdir -p -- "$dir/run" || exit 11
log=$dir/run/apt.log
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
apt() { apt-get -q -y -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=120 --no-install-recommends "$@"; }
refused() {
  say "apt-get could not install$missing: $(tail -n 5 -- "$log" | tr '\n' ' ')"
  exit 15
}
# What apt would do is looked at first: nothing that is there may change.
if ! apt -s install $missing >"$log" 2>&1; then
  apt update >>"$log" 2>&1
  apt -s install $missing >"$log" 2>&1 || refused
fi
changes=$(awk '$1 == "Remv" || $1 == "Inst" && $3 ~ /^\[/ { printf " %s", $2 }' "$log")
if [ -n "$changes" ]; then
  say "installing$missing would change packages that are there:$changes"
  exit 15
fi
new=$(awk '$1 == "Inst" { print $2 }' "$log")
for package in $new; do record "$kind" "$package" "$by" || exit 11; done
# Debian starts a server when it installs it, unless this file says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  record policy "$policy" "$by"
  trap 'rm -f -- "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\n# bela: services stay stopped while packages are installed\nexit 101\n' >"$policy" && chmod 755 "$policy" || exit 11
fi
names() { cut -d: -f1 "$1" | sort; }
names /etc/passwd >"$dir/run/users"
names /etc/group >"$dir/run/groups"
apt install $missing >"$log" 2>&1
status=$?
if [ "$kind" = package ]; then
  names /etc/passwd | comm -13 "$dir/run/users" - | while IFS= read -r name; do record user "$name" "$by"; done
  names /etc/group | comm -13 "$dir/run/groups" - | while IFS= read -r name; do record group "$name" "$by"; done
fi
[ "$status" = 0 ] || refused
exit 0
