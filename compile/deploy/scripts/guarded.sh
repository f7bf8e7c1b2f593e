# Stands before a script that runs a program of a bundle: 'guarded PROGRAM ARGUMENTS' ends it after seconds at the
# latest, by its own process id, and what it started. Status 124: it was ended. Nothing stays behind otherwise.
end_tree() {
  children=$(grep -ls "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status)
  kill -9 "$1"
  for child in $children; do
    child=${child%/status}
    end_tree "${child##*/}"
  done
}

guarded() {
  "$@" </dev/null &
  program=$!
  (
    exec </dev/null >/dev/null 2>&1
    nap=
    trap 'kill $nap; exit 0' TERM
    sleep "$seconds" &
    nap=$!
    wait "$nap"
    trap '' TERM # the end of the program must not end this too early
    end_tree "$program"
    exit 3
  ) &
  guard=$!
  wait "$program"
  ended=$?
  {
    kill "$guard"
    wait "$guard"
    [ $? -ne 3 ] || ended=124
  } 2>/dev/null # a shell may report how the guard ended
  return "$ended"
}
