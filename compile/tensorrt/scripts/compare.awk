# Compares logits: awk -v tolerance=T -v name=N -f compare.awk EXPECTED OUTPUT.json
#
# EXPECTED has one line of numbers. OUTPUT.json is what trtexec --exportOutput writes:
# [ { "name" : "logits" , "dimensions" : "1x10" , "values" : [ 0.1, 0.2 ] } ]

!expected {
    for (i = 1; i <= NF; i++) want[i] = $i
    expected = NF
    next
}

{ text = text " " $0 }

END {
    if (!expected) { print "error: " name ": nothing is expected"; exit 1 }
    if (!sub(/.*"values"[ \t]*:[ \t]*\[/, "", text)) { print "error: " name ": no values in the output"; exit 1 }
    sub(/\].*/, "", text)
    gsub(/,/, " ", text)
    count = split(text, got, " ")
    if (count != expected) { print "error: " name ": " count " values, not " expected; exit 1 }
    for (i = 1; i <= count; i++) {
        if (got[i] !~ /^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$/) { print "error: " name ": " got[i] " is no number"; exit 1 }
        difference = got[i] - want[i]
        if (difference < 0) difference = -difference
        if (difference > largest) largest = difference
    }
    if (largest > tolerance) {
        printf "error: %s: a logit differs by %.4g, at most %.4g is allowed\n", name, largest, tolerance
        exit 1
    }
    printf "%s: equal within %.4g (largest difference %.4g)\n", name, tolerance, largest
}
