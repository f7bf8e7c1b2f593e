# Takes the board for one deployment (token, who) and keeps it until standard input ends.
lock=$root/lock
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
boot=${boot:-unknown}

mkdir -p "$root" 2>/dev/null || fail "$(mkdir -p "$root" 2>&1)"
attempt=0
until mkdir "$lock" 2>/dev/null; do
  [ -d "$lock" ] || fail "$(mkdir "$lock" 2>&1)"
  attempt=$((attempt + 1))
  [ "$attempt" -le 3 ] || fail "busy with a deployment that does not say whose it is"
  pid='' other_boot='' other=''
  [ -f "$lock/owner" ] || sleep 1
  [ -f "$lock/owner" ] && read -r pid other_boot _ other <"$lock/owner"
  if [ -n "$pid" ] && [ "$other_boot" = "$boot" ] && [ -d "/proc/$pid" ]; then
    fail "busy with a deployment from $other"
  fi
  # Its process is gone. Whoever moves the lock away first may clear it.
  mv "$lock" "$lock.$token" 2>/dev/null && rm -rf "$lock.$token"
done

# A program in the way of the trap could keep the lock for ever, so it is the shell itself that waits.
release() {
  still_held && rm -rf "$lock"
}
trap release EXIT
trap 'exit 1' HUP INT PIPE TERM
printf '%s %s %s %s\n' "$$" "$boot" "$token" "$who" >"$lock/owner" || fail "cannot write $lock/owner"
printf 'held\n'
while read -r _; do :; done
