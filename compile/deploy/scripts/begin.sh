# Prepares the upload of a bundle (digest, the names of its files one a line) and prints what is there of it:
# 'complete', or 'have SIZE NAME' a line. What does not belong there is removed.
must_hold
mkdir -p "$root/bundles" "$root/incoming" || fail "$(mkdir -p "$root/bundles" "$root/incoming" 2>&1)"
[ ! -e "$root/current" ] || [ -L "$root/current" ] || fail "$root/current is in the way: it is no symbolic link"

# Only a rename that replaces a link to a folder can switch versions in one step.
trial=$root/incoming/trial.$token
rm -rf "$trial"
mkdir -p "$trial/$digest" || fail "$(mkdir -p "$trial/$digest" 2>&1)"
missing=
if ! ln -s "$digest" "$trial/old" || ! ln -s "$digest" "$trial/new"; then
  missing="symbolic links in $root. Name a folder on another file system: user@board:folder"
elif ! mv -T "$trial/new" "$trial/old" 2>/dev/null || [ -L "$trial/$digest/new" ]; then
  missing="an mv with the option -T, so versions could not be switched in one step. Install coreutils, or BusyBox 1.34 or newer, there"
fi
# A program that may not be started there; whether its interpreter is found does not matter.
if printf '%s\n' "$names" | grep -qxF repghost-run; then
  printf '#!/bin/sh\n' >"$trial/program"
  chmod 755 "$trial/program" 2>/dev/null
  "$trial/program" >/dev/null 2>&1
  [ $? -ne 126 ] || missing="the right to start programs in $root (noexec?). Name a folder on another file system: user@board:folder"
fi
rm -rf "$trial"
[ -z "$missing" ] || lacks "$missing"

if [ -d "$root/bundles/$digest" ]; then
  printf 'complete\n'
  rm -rf "$root/incoming/$digest"
  exit 0
fi
mkdir -p "$root/incoming/$digest" || fail "$(mkdir -p "$root/incoming/$digest" 2>&1)"
cd "$root/incoming/$digest" || fail "cannot enter $root/incoming/$digest"
for file in * .[!.]*; do
  [ -e "$file" ] || [ -L "$file" ] || continue
  if [ -L "$file" ] || [ ! -f "$file" ] || ! printf '%s\n' "$names" | grep -qxF -e "$file"; then
    rm -rf "./$file"
  else
    printf 'have %s %s\n' "$(($(wc -c <"$file")))" "$file"
  fi
done
