# Runs repghost-run of the bundle in folder with words (shell words, quoted), for seconds at most.
cd "$root/$folder" || fail "cannot enter $root/$folder"
chmod 755 ./repghost-run || fail "cannot make repghost-run executable"
eval "set -- $words"
guarded ./repghost-run "$@"
