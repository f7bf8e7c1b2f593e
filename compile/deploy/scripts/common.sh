# Begins every script. root: the folder on the board, absolute or below the home of the account.
LC_ALL=C
export LC_ALL
umask 022
cd || exit 1

fail() {
  printf 'problem %s\n' "$*"
  exit 1
}

# Whether the deployment that runs this script still has the board to itself; token is its name.
still_held() {
  [ -f "$root/lock/owner" ] && read -r _ _ holder _ <"$root/lock/owner" && [ "$holder" = "$token" ]
}

must_hold() {
  still_held || fail "another deployment has taken over $root"
}
