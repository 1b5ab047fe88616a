# Makes a directory for the doctor's agent beside where bela's would be, and
# prints it. $1 is bela's directory, which need not exist. What a doctor that
# was cut short left behind goes first.
LC_ALL=C; export LC_ALL
umask 077
at=$1
while [ ! -d "$at" ] || [ "$at" = "$1" ]; do at=$(dirname -- "$at"); done
find "$at" -maxdepth 1 -type d -name '.bela-doctor-*' -user "$(id -u)" -mmin +30 -exec rm -rf -- {} + 2>/dev/null
mktemp -d "$at/.bela-doctor-XXXXXXXX"
