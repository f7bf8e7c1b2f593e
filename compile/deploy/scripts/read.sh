# Prints the content of a file (name) in folder.
cd "$root/$folder" || fail "cannot enter $root/$folder"
cat "./$name" || fail "cannot read $name"
