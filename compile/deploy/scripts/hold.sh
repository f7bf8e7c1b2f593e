# Takes the board for one deployment (token, who) and keeps it until standard input ends.
lock=$root/lock
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
boot=${boot:-unknown}

# When a process started, in clock ticks since the board did: its number alone may be another's by now.
started() {
  stat=$(cat "/proc/$1/stat" 2>/dev/null)
  # shellcheck disable=SC2086 # the words that follow the name, which may hold anything
  set -- ${stat##*) }
  printf %s "${20}"
}

# Whether the process that wrote the lock still runs.
is_held() {
  [ -n "$holder" ] && [ "$other_boot" = "$boot" ] && [ -d "/proc/$pid" ] || return 1
  if [ -n "$start" ]; then
    [ "$start" = "$(started "$pid")" ]
  else # by an older version of this program, which wrote no start: its command line has its name
    grep -q "$holder" "/proc/$pid/cmdline" 2>/dev/null
  fi
}

mkdir -p "$root" 2>/dev/null || fail "$(mkdir -p "$root" 2>&1)"
attempt=0
until mkdir "$lock" 2>/dev/null; do
  [ -d "$lock" ] || fail "$(mkdir "$lock" 2>&1)"
  attempt=$((attempt + 1))
  [ "$attempt" -le 3 ] || fail "busy with a deployment that does not say whose it is"
  pid='' other_boot='' holder='' other='' start=''
  [ -f "$lock/owner" ] || sleep 1
  [ -f "$lock/owner" ] && read -r pid other_boot holder other start <"$lock/owner"
  ! is_held || fail "busy with a deployment from $other"
  # Its process is gone. Whoever moves the lock away first may clear it.
  mv "$lock" "$lock.$token" 2>/dev/null && rm -rf "$lock.$token"
done

# A program in the way of the trap could keep the lock for ever, so it is the shell itself that waits.
release() {
  still_held && rm -rf "$lock"
}
trap release EXIT
trap 'exit 1' HUP INT PIPE TERM
printf '%s %s %s %s %s\n' "$$" "$boot" "$token" "$who" "$(started "$$")" >"$lock/owner" || fail "cannot write $lock/owner"
printf 'held\n'
while read -r _; do :; done
