# Makes one JSON object of a run: awk -v precision=int8 -f measure.awk TRTEXEC.log TEGRASTATS.log
#
# From trtexec: "GPU Compute Time: min = 0.4 ms, max = ..., median = 0.41 ms, percentile(90%) = ..., percentile(99%) = ..."
# From tegrastats: "... GR3D_FREQ 99%@[612] ... gpu@58.6C tj@58.3C ... VDD_IN 6321mW/5204mW ...". What a line does not
# say stays null: older versions print no clock.

FILENAME == ARGV[1] {
    if (/GPU Compute Time: min/) {
        times = $0
        sub(/.*GPU Compute Time: /, "", times)
    }
    if (/Throughput: /) {
        throughput = $0
        sub(/.*Throughput: /, "", throughput)
        sub(/ .*/, "", throughput)
    }
    next
}

function figure(name,    rest, at) {
    at = index(times, name " = ")
    if (!at) return ""
    rest = substr(times, at + length(name) + 3)
    sub(/ ms.*/, "", rest)
    return (rest ~ /^[0-9.]+([eE][-+]?[0-9]+)?$/) ? rest : ""
}


{
    if (match($0, /GR3D_FREQ [0-9]*%?@\[?[0-9]+/)) {
        clock = substr($0, RSTART, RLENGTH)
        sub(/.*@\[?/, "", clock)
        clock += 0
        if (!clocks || clock < slowest) slowest = clock
        if (!clocks || clock > fastest) fastest = clock
        clocks++
    }
    rest = $0
    while (match(rest, /[A-Za-z0-9_]+@-?[0-9.]+C/)) {
        heat = substr(rest, RSTART, RLENGTH)
        sub(/.*@/, "", heat)
        heat += 0 # "58.6C" counts as 58.6
        if (!heats || heat > hottest) hottest = heat
        heats++
        rest = substr(rest, RSTART + RLENGTH)
    }
    if (match($0, /(VDD_IN|VIN_SYS_5V0|POM_5V_IN) [0-9]+(mW)?\//)) {
        power = substr($0, RSTART, RLENGTH)
        sub(/^[A-Z0-9_]+ /, "", power)
        total += power + 0
        powers++
    }
}

function or_null(value, known, form) {
    return known ? sprintf(form, value) : "null"
}

END {
    if (figure("median") == "" || figure("min") == "") exit 1
    printf "{\"precision\": \"%s\", \"min_ms\": %s, \"median_ms\": %s, ", precision, figure("min"), figure("median")
    printf "\"p90_ms\": %s, ", figure("percentile(90%)") == "" ? "null" : figure("percentile(90%)")
    printf "\"p99_ms\": %s, ", figure("percentile(99%)") == "" ? "null" : figure("percentile(99%)")
    printf "\"throughput_per_s\": %s, ", throughput ~ /^[0-9.]+$/ ? throughput : "null"
    printf "\"gpu_mhz_min\": %s, ", or_null(slowest, clocks, "%d")
    printf "\"gpu_mhz_max\": %s, ", or_null(fastest, clocks, "%d")
    printf "\"temperature_c\": %s, ", or_null(hottest, heats, "%.1f")
    printf "\"power_mw\": %s}\n", or_null(powers ? total / powers : 0, powers, "%.0f")
}
