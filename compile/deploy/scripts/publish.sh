# Moves a proven upload (digest) to its place among the bundles.
must_hold
chmod 755 "$root/incoming/$digest" || fail "cannot change $root/incoming/$digest"
sync
mv "$root/incoming/$digest" "$root/bundles/$digest" || fail "cannot move the bundle to its place"
