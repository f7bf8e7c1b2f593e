# Prints what the board is, one 'name value' a line. Changes nothing.
value() {
  printf '%s %s\n' "$1" "$2"
}

word_of() {
  [ -r "$1" ] && tr -d '\0' <"$1" 2>/dev/null | head -n 1
}

cpu() {
  sed -n "s/^$1[[:space:]]*: *//p" /proc/cpuinfo 2>/dev/null | head -n 1
}

value machine "$(uname -m)"
value system "$(uname -s) $(uname -r)"
value boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
value bits "$(getconf LONG_BIT 2>/dev/null)"
loaders=
for path in /lib/ld-linux*.so.* /lib64/ld-linux*.so.* /lib/ld-musl-*.so.*; do
  [ ! -e "$path" ] || loaders="$loaders $path"
done
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc=
for program in ldd $loaders; do # which of them there are differs; what has no --version prints something else
  case $libc in *[0-9].[0-9]* | *musl*) break ;; esac
  libc=$(command -v "$program" >/dev/null && "$program" --version 2>&1 | head -n 1)
done
value libc "$libc"
value loaders "$loaders"
value cores "$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc 2>/dev/null)"
features=$(cpu Features)
value features "${features:-$(cpu flags)}"
core=$(cpu 'model name')
value core "${core:-$(cpu 'CPU implementer') $(cpu 'CPU part')}"
value board "$(word_of /proc/device-tree/model)"
tree=/proc/device-tree/compatible
[ ! -r $tree ] || value chip "$(tr '\0' '\n' <$tree 2>/dev/null | tail -n 1)" # the last of its names is the most general

scaling=/sys/devices/system/cpu/cpu0/cpufreq
value governor "$(word_of $scaling/scaling_governor)"
value clock_khz "$(word_of $scaling/scaling_cur_freq)"
value top_clock_khz "$(word_of $scaling/cpuinfo_max_freq)"
value temperature_millicelsius "$(word_of /sys/class/thermal/thermal_zone0/temp)"

place=$root
while [ ! -d "$place" ] && [ "$place" != / ] && [ "$place" != . ]; do
  place=$(dirname "$place")
done
value free_kb "$(df -Pk "$place" 2>/dev/null | tail -n 1 | {
  read -r _ _ _ free _
  printf %s "$free"
})"
if [ -w "$place" ]; then value writable yes; else value writable no; fi

for tool in sha256sum shasum openssl; do
  if command -v "$tool" >/dev/null 2>&1; then
    value digest_tool "$tool"
    break
  fi
done
value current "$(readlink "$root/current" 2>/dev/null)"
