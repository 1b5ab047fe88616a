# Removes the packages that bela installed, as MANIFEST has them, with the users
# and groups that came with them. It lies in bela's directory while there are
# any, so that the node can be cleaned without a controller.
owned || exit 0
for policy in $(recorded policy); do
  [ "$policy" = /usr/sbin/policy-rc.d ] || continue
  if grep -q '^# bela: ' "$policy" 2>/dev/null; then rm -f -- "$policy"; fi
done
there=
for package in $(recorded package); do
  case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
    '' | not-installed) ;;
    *) there="$there $package" ;;
  esac
done
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
if [ -n "$there" ]; then
  # An installation that was cut short is ended first, or apt does nothing at all.
  # What cannot be configured can still be removed.
  if [ -n "$(ls -A /var/lib/dpkg/updates 2>/dev/null)" ]; then dpkg --configure -a >/dev/null 2>&1; fi
  plan=$(apt-get -q -y -s purge $there 2>&1) || { say "apt-get could not remove$there: $(printf '%s\n' "$plan" | tail -n 3 | tr '\n' ' ')"; exit 27; }
  for package in $(printf '%s\n' "$plan" | awk '$1 == "Purg" || $1 == "Remv" { print $2 }'); do
    case " $there " in
      *" $package "*) ;;
      *)
        say "the packages$there were installed by bela and stay: $package needs them by now"
        exit 27
        ;;
    esac
  done
  plan=$(apt-get -q -y -o DPkg::Lock::Timeout=120 purge $there 2>&1) || { say "apt-get could not remove$there: $(printf '%s\n' "$plan" | tail -n 3 | tr '\n' ' ')"; exit 27; }
fi
for name in $(recorded user); do
  ! grep -q "^$name:" /etc/passwd || userdel -- "$name" >/dev/null 2>&1 || { say "user $name came with a package and cannot be removed"; exit 27; }
done
for name in $(recorded group); do
  ! grep -q "^$name:" /etc/group || groupdel -- "$name" >/dev/null 2>&1 || { say "group $name came with a package and cannot be removed"; exit 27; }
done
exit 0
