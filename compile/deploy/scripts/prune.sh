# Removes what no deployment will use again: uploads, and bundles whose digest does not stand in keep (one a line).
# The current bundle always stays.
must_hold
current=$(readlink "$root/current" 2>/dev/null)
for path in "$root"/bundles/*; do
  [ -d "$path" ] || continue
  [ "bundles/${path##*/}" = "$current" ] && continue
  printf '%s\n' "$keep" | grep -qx "${path##*/}" && continue
  rm -rf "$path" && printf 'removed %s\n' "${path##*/}"
done
for path in "$root"/incoming/* "$root"/lock.* "$root"/current.* "$root"/history.*; do
  if [ -e "$path" ] || [ -L "$path" ]; then
    rm -rf "$path"
  fi
done
