# Appends standard input to a file of the upload (digest, name), which has to be offset bytes long; prints its size.
must_hold
cd "$root/incoming/$digest" || fail "cannot enter $root/incoming/$digest"
if [ "$offset" -eq 0 ]; then
  rm -rf "./$name"
  : >"./$name" || fail "cannot write $name: $( (: >"./$name") 2>&1)"
fi
[ "$(($(wc -c <"./$name")))" -eq "$offset" ] || fail "$name changed while it was copied"
reason=$(cat 2>&1 >>"./$name") || fail "cannot write $name: $reason"
printf 'size %s\n' "$(($(wc -c <"./$name")))"
