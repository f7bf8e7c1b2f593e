# Stands before a script that runs a program of a bundle: 'guarded PROGRAM ARGUMENTS' ends it after seconds at the
# latest, by its own process id. Status 124: it was ended. Nothing stays behind when the program ends earlier.
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
    kill -9 "$program"
    exit 3
  ) &
  guard=$!
  wait "$program"
  ended=$?
  kill "$guard" 2>/dev/null
  wait "$guard"
  [ $? -ne 3 ] || ended=124
  return "$ended"
}
