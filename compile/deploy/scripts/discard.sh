# Removes one upload (digest).
must_hold
rm -rf "${root:?}/incoming/$digest" || fail "cannot remove $root/incoming/$digest"
