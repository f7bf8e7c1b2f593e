# Prints what lies in the folder: current, each bundle and upload with its size, the history, the holder of the lock.
[ -d "$root" ] || fail "there is no folder $root"
printf 'current %s\n' "$(readlink "$root/current" 2>/dev/null)"
for kind in bundles incoming; do
  for path in "$root/$kind"/*; do
    [ -d "$path" ] && printf '%s %s %s\n' "$kind" "$(du -sk "$path" | {
      read -r size _
      printf %s "$size"
    })" "${path##*/}"
  done
done
[ ! -f "$root/history" ] || sed 's/^/history /' "$root/history"
[ ! -f "$root/lock/owner" ] || sed 's/^/lock /' "$root/lock/owner"
