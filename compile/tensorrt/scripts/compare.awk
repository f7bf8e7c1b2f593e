# Compares logits: awk -v tolerance=T -v name=N -f compare.awk EXPECTED OUTPUT.json
# or the numbers of several results: awk ... -v results=results.txt -f compare.awk EXPECTED OUTPUT.json
#
# EXPECTED has one line of numbers, those of several results one behind the other; results.txt has a line for each, its
# name and how many numbers it has. OUTPUT.json is what trtexec --exportOutput writes, in an order of its own:
# [ { "name" : "logits" , "dimensions" : "1x10" , "values" : [ 0.1, 0.2 ] } ]

!expected {
    for (i = 1; i <= NF; i++) want[i] = $i
    expected = NF
    next
}

{ text = text " " $0 }

function values_of(part) {
    if (!sub(/.*"values"[ \t]*:[ \t]*\[/, "", part)) return ""
    sub(/\].*/, "", part)
    gsub(/,/, " ", part)
    return part
}

# compare TEXT FIRST WANTED WHAT: WANTED numbers of what is expected from place FIRST on.
function compare(part, first, wanted, what,    got, count, i, difference) {
    count = split(part, got, " ")
    if (count != wanted) { print "error: " name ": " count " values" what ", not " wanted; exit failed = 1 }
    for (i = 1; i <= count; i++) {
        if (got[i] !~ /^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$/) { print "error: " name ": " got[i] " is no number"; exit failed = 1 }
        difference = got[i] - want[first + i - 1]
        if (difference < 0) difference = -difference
        if (difference > largest) { largest = difference; farthest = what }
    }
}

END {
    if (failed) exit 1
    if (!expected) { print "error: " name ": nothing is expected"; exit 1 }
    if (results) {
        parts = split(text, part, /"name"[ \t]*:[ \t]*"/)
        for (i = 2; i <= parts; i++) {
            key = part[i]
            sub(/".*/, "", key)
            made[key] = values_of(part[i])
        }
        place = 1
        while ((getline line < results) > 0) {
            split(line, words, " ")
            compare(made[words[1]], place, words[2], " of " words[1])
            place += words[2]
        }
        if (place - 1 != expected) { print "error: " name ": " expected " values are expected, not " place - 1; exit 1 }
    } else {
        text = values_of(text)
        if (text == "") { print "error: " name ": no values in the output"; exit 1 }
        compare(text, 1, expected, "")
    }
    if (largest > tolerance) {
        printf "error: %s: a %s differs by %.4g, at most %.4g is allowed\n", name, \
            results ? "number" farthest : "logit", largest, tolerance
        exit 1
    }
    printf "%s: equal within %.4g (largest difference %.4g)\n", name, tolerance, largest
}
