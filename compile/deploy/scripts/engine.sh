# Runs a script (program) of the bundle in folder, for seconds at most: it builds or checks an engine there.
cd "$root/$folder" || fail "cannot enter $root/$folder"
guarded sh "./$program"
