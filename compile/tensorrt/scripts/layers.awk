# Compares the layers of an engine with promise.txt: awk -f layers.awk promise.txt RS='}' LAYERS.json
#
# promise.txt has lines "NAME int8" or "NAME float". LAYERS.json is what trtexec --exportLayerInfo writes, of any
# version: {"Layers": [{"Name", "LayerType", "Inputs": [{"Format/Datatype"}], "Weights": {"Type"}, "Metadata"}]}. A layer
# of the engine can stand for several of the file, whose names are in Name (joined by " + " or " || ") or in Metadata.
# Records end at a closing brace, so that files on one line are read as fast as others.

FILENAME == ARGV[1] {
    if (NF >= 2) {
        promised[$1] = $2
        order[++promises] = $1
        if ($2 == "int8") wanted++
    }
    next
}

function value_of(text) {
    return substr(text, 2, length(text) - 2)
}

function begin_layer() {
    name = metadata = type = weights = inputs = ""
    inside = 1
}

function end_layer(    words, count, i, int8, seen_here) {
    inside = 0
    layers++
    if (type == "Reformat" || name ~ /^Reformatting/) return
    int8 = (weights != "") ? (tolower(weights) ~ /int8/) : (tolower(inputs) ~ /int8/)
    count = split(name " " metadata, words, /[^A-Za-z0-9_.-]+/)
    for (i = 1; i <= count; i++) {
        if (!(words[i] in promised)) continue
        # Element-wise kernels before and after a convolution name it too; they count only where nothing else does.
        if (type == "kgen" && seen[words[i]] == 2) continue
        if (type != "kgen" && seen[words[i]] != 2) delete good[words[i]]
        seen[words[i]] = (type == "kgen") ? 1 : 2
        if (int8) good[words[i]] = 1
        what[words[i]] = name " (" type ", input " (inputs == "" ? "unknown" : inputs) \
            (weights == "" ? "" : ", weight " weights) ")"
    }
}

function string(text) {
    if (expects_key[depth]) {
        key[depth] = value_of(text)
        return
    }
    if (depth == 2 && key[1] == "Layers") names_only++
    if (!inside) return
    if (depth == 3 && key[3] == "Name") name = value_of(text)
    if (depth == 3 && key[3] == "Metadata") metadata = value_of(text)
    if (depth == 3 && key[3] == "LayerType") type = value_of(text)
    if (depth == 4 && key[3] == "Weights" && key[4] == "Type") weights = value_of(text)
    if (depth == 5 && key[3] == "Inputs" && key[5] ~ /Datatype/) inputs = inputs (inputs == "" ? "" : "; ") value_of(text)
}

function token(text) {
    if (text == "{") {
        depth++
        expects_key[depth] = 1
        key[depth] = ""
        if (depth == 3 && key[1] == "Layers") begin_layer()
    } else if (text == "[") {
        depth++
        expects_key[depth] = 0
        key[depth] = ""
    } else if (text == "}" || text == "]") {
        if (depth == 3 && inside) end_layer()
        depth--
    } else if (text == ":") {
        expects_key[depth] = 0
    } else if (text == ",") {
        expects_key[depth] = (kind[depth] == "{")
    } else if (substr(text, 1, 1) == "\"") {
        string(text)
    }
    if (text == "{" || text == "[") kind[depth] = text
}

function read_record(text) {
    while (match(text, /"([^"\\]|\\.)*"|[][{},:]|[^][{},:" \t\r\n]+/)) {
        token(substr(text, RSTART, RLENGTH))
        text = substr(text, RSTART + RLENGTH)
    }
}

{
    read_record($0)
    token("}")
}

END {
    if (!promises) { print "error: promise.txt is empty"; exit 1 }
    if (names_only) { print "error: the layers have names only; build with --profilingVerbosity=detailed"; exit 1 }
    if (!layers) { print "error: no layers in " ARGV[3]; exit 1 }
    for (i = 1; i <= promises; i++) {
        one = order[i]
        if (promised[one] != "int8") continue
        if (!(one in seen)) {
            print "error: " one " was promised in int8 and is not in the engine's list of layers"
            wrong++
        } else if (!(one in good)) {
            print "error: " one " was promised in int8 and came out float: " what[one]
            wrong++
        }
    }
    if (wrong) { print "error: " wrong " of " wanted " layers are not int8"; exit 1 }
    print "int8: " wanted " of " promises " layers, as promised (" layers " layers in the engine)"
}
