# Begins every script. root: the folder on the board, absolute or below the home of the account.
LC_ALL=C
export LC_ALL
umask 022

fail() {
  printf 'problem %s\n' "$*"
  exit 1
}

# What a board has not is said before anything is changed.
lacks() {
  printf 'lacks %s\n' "$*"
  exit 1
}

absent=
for need in cat chmod grep ln mkdir mv readlink rm sed sleep sync uname wc; do
  command -v "$need" >/dev/null 2>&1 || absent="$absent $need"
done
[ -z "$absent" ] || lacks "the programs$absent. Install coreutils, grep and sed, or BusyBox, there"
place=$HOME
case $root in /*) place=/ ;; esac
if [ -z "$place" ] || ! cd "$place" 2>/dev/null; then
  lacks "a home folder for this account. Name a folder from the root: user@board:/opt/repghost"
fi

# Whether the deployment that runs this script still has the board to itself; token is its name.
still_held() {
  [ -f "$root/lock/owner" ] && read -r _ _ holder _ <"$root/lock/owner" && [ "$holder" = "$token" ]
}

must_hold() {
  still_held || fail "another deployment has taken over $root"
}
