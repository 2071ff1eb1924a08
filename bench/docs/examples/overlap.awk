# How similar two sentences are, by the words that they share, in awk. It learns nothing. Run it with
#   bench measure --task stsb --track scratch -- awk -f overlap.awk
# For a task whose labels are numbers a prediction is a number.

BEGIN {
    out = ENVIRON["BENCH_OUT"] "/predictions.csv"
    print "id,prediction" > out
    while ((getline line < (ENVIRON["BENCH_TASK_DIR"] "/scored.jsonl")) > 0)
        print id(line) "," 5 * shared(field(line, "sentence1"), field(line, "sentence2")) > out
}

# The words of both as a share of the words of either.
function shared(first, second,    word, in_first, in_second, both, either) {
    words(first, in_first)
    words(second, in_second)
    for (word in in_first) { either++; both += word in in_second }
    for (word in in_second) either += !(word in in_first)
    return either ? both / either : 0
}

function words(text, found,    i, n, word) {
    n = split(tolower(text), word, /[^a-z0-9']+/)
    for (i = 1; i <= n; i++)
        if (word[i] != "") found[word[i]] = 1
}

# Each line is one JSON object whose strings are in double quotes, with \" inside.
function field(line, name,    start) {
    start = index(line, "\"" name "\": \"")
    line = substr(line, start + length(name) + 5)
    match(line, /^([^"\\]|\\.)*/)
    return substr(line, 1, RLENGTH)
}

function id(line) {
    match(line, /"id": [0-9]+/)
    return substr(line, RSTART + 6, RLENGTH - 6)
}
