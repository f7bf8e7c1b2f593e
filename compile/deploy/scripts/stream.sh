# Gives standard input, pictures of the network's input, to repghost-run of the bundle in folder with words (shell
# words, quoted), for seconds at most. Nothing is written.
cd "$root/$folder" || fail "cannot enter $root/$folder"
streamed() {
  exec ./repghost-run "$@" <&3
}
exec 3<&0
eval "set -- $words"
guarded streamed "$@"
