# All that a node needs on its way to a running agent, in one session: it tells
# what it is and what it has, and then does what the lines of its input say. Its
# input is read byte by byte or by dd in full blocks: nothing is read too far.

# sum FILE prints the SHA-256. OpenSSL has it in hardware on many machines.
sum() {
  got=
  if command -v openssl >/dev/null 2>&1; then
    got=$(openssl dgst -sha256 -r <"$1" 2>/dev/null) && got=${got%% *}
  fi
  if [ "${#got}" != 64 ]; then
    got=$(sha256sum <"$1" 2>/dev/null) && got=${got%% *}
  fi
  [ "${#got}" = 64 ] || got=-
  echo "$got"
}

# take BLOCKS REST prints so many blocks of 64 KiB and bytes of the input.
take() {
  dd bs=65536 count="$1" iflag=fullblock 2>/dev/null || return
  [ "$2" = 0 ] || dd bs="$2" count=1 iflag=fullblock 2>/dev/null
}

# put HOW BLOCKS REST SUM receives a program beside its place, checks it and puts
# it there. The next lines are its path and who sends it.
put() {
  IFS= read -r file && IFS= read -r who || exit 0
  prepare "$dir" "$who" file "$file" || exit
  temporary=$file.upload-$$
  echo go
  case $1 in
    plain) take "$2" "$3" >"$temporary" ;;
    gzip) take "$2" "$3" | gzip -dc >"$temporary" 2>/dev/null ;;
    zstd) take "$2" "$3" | zstd -dcq >"$temporary" 2>/dev/null ;;
  esac
  settle "$4" || exit 0 # what is left of the input is of no use
}

# receive SUM makes a file beside the program's place, which is filled from outside,
# and then checks it and puts it there. The next lines are as for put.
receive() {
  IFS= read -r file && IFS= read -r who || exit 0
  prepare "$dir" "$who" file "$file" || exit
  temporary=$file.upload-$$
  true >"$temporary" || exit 11
  echo "go $temporary"
  IFS= read -r word || exit 0
  case $word in
    settle) settle "$1" || temporary= ;;
    drop) rm -f -- "$temporary" && temporary= ;;
    *) exit 0 ;;
  esac
}

# settle SUM checks what has arrived and puts it in the program's place.
settle() {
  got=$(sum "$temporary")
  if [ "$got" != "$1" ]; then
    free=$(df -Pk -- "$dir" 2>/dev/null | awk 'NR == 2 { print $4 }')
    rm -f -- "$temporary"
    if [ "${free:-64}" -lt 64 ]; then echo full; else echo "bad $got"; fi
    return 1
  fi
  chmod 700 -- "$temporary" && mv -f -- "$temporary" "$file" || exit 11
  temporary=
  echo placed
}

# ask SECONDS WORD HOST PORT: what another node answers to the word with $token.
ask() {
  printf '%s %s\n' "$2" "$token" | timeout "$1" bash -c '
    IFS= read -r line && exec 3<>"/dev/tcp/$1/$2" && printf "%s\n" "$line" >&3 && exec cat <&3' bash "$3" "$4" 2>/dev/null
}

# fetch HOST PORT SECONDS SUM gets a program from another node, if it reaches that.
# The next lines are the program's path, who wants it there, and a token.
fetch() {
  IFS= read -r file && IFS= read -r who && IFS= read -r token || exit 0
  prepare "$dir" "$who" file "$file" || exit
  if [ "$(ask 5 probe "$1" "$2")" != here ]; then
    echo unreached
    return
  fi
  temporary=$file.upload-$$
  ask "$3" get "$1" "$2" >"$temporary"
  settle "$4" || temporary=
}

oneline() (
  set -f
  set -- $1
  echo "$*"
)

temporary=
trap '[ -z "$temporary" ] || rm -f -- "$temporary"' EXIT
trap 'exit 1' HUP INT TERM

facts "$dir" </dev/null
if problem=$(check 2>&1 </dev/null); then echo 'check=0'; else echo "check=$? $(oneline "$problem")"; fi
[ ! -f "$dir/run/agent.pid" ] || ! words=$(holder) || echo "running=$words"
for tool in gzip zstd; do
  ! command -v "$tool" >/dev/null 2>&1 || echo "has=$tool"
done
! command -v bash >/dev/null 2>&1 || ! command -v timeout >/dev/null 2>&1 || echo has=fetch
if owned; then
  for program in $programs; do
    for file in "$dir/bin/$program"-????????????????; do
      [ ! -f "$file" ] || echo "program=$(sum "$file") $file"
    done
  done
fi
echo end

while read -r verb one two three four; do
  case $verb in
    probe) dd of=/dev/null bs=65536 count="$one" iflag=fullblock 2>/dev/null && echo probed ;;
    put) put "$one" "$two" "$three" "$four" ;;
    receive) receive "$one" ;;
    fetch) fetch "$one" "$two" "$three" "$four" ;;
    start)
      IFS= read -r agent && IFS= read -r run && IFS= read -r who || exit 0
      start_agent "$agent" "$run" "$one" "$two" "$three" "$who"
      ;;
    *) exit 0 ;;
  esac
done
