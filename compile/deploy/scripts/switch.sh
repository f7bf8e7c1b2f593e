# Makes a bundle (digest) the current one in one step, and notes it in the history (line) when there is a line.
must_hold
[ -d "$root/bundles/$digest" ] || fail "there is no bundle $digest"
if [ -n "$line" ]; then
  { grep -v "^$digest " "$root/history" 2>/dev/null; printf '%s\n' "$line"; } >"$root/history.$token" ||
    fail "cannot write $root/history"
fi
ln -s "bundles/$digest" "$root/current.$token" || fail "cannot make a symbolic link in $root"
mv -T "$root/current.$token" "$root/current" || {
  rm -f "$root/current.$token" "$root/history.$token"
  fail "cannot replace $root/current"
}
[ -z "$line" ] || mv "$root/history.$token" "$root/history" || fail "cannot write $root/history"
sync
readlink "$root/current"
