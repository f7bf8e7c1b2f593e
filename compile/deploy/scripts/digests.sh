# Prints 'sha256 DIGEST NAME' of each of names (one a line) in folder, with the tool of the board.
cd "$root/$folder" || fail "cannot enter $root/$folder"
printf '%s\n' "$names" | while read -r name; do
  case $tool in
    sha256sum) sum=$(sha256sum <"./$name") ;;
    shasum) sum=$(shasum -a 256 <"./$name") ;;
    *) sum=$(openssl dgst -sha256 -r <"./$name") ;;
  esac || fail "$tool cannot read $name"
  printf 'sha256 %s %s\n' "${sum%% *}" "$name"
done
