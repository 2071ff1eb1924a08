# Naive Bayes over words, in awk. Run it with
#   bench measure --task sst2 --track scratch -- awk -f bayes.awk
# Classes, words and counts come from train.jsonl; predictions.csv is what bench scores.

BEGIN {
    task = ENVIRON["BENCH_TASK_DIR"]
    tell("train")
    while ((getline line < (task "/train.jsonl")) > 0) {
        class = field(line, "label")
        texts[class]++
        n = words(field(line, "sentence"), word)
        for (i = 1; i <= n; i++) {
            count[class, word[i]]++
            total[class]++
            known[word[i]] = 1
        }
    }
    for (w in known) size++
    tell("predict")
    out = ENVIRON["BENCH_OUT"] "/predictions.csv"
    print "id,prediction" > out
    while ((getline line < (task "/scored.jsonl")) > 0)
        print id(line) "," best(field(line, "sentence")) > out
}

function best(text,    class, i, n, word, score, most, found) {
    n = words(text, word)
    for (class in texts) {
        score = log(texts[class])
        for (i = 1; i <= n; i++)
            if (word[i] in known)
                score += log((count[class, word[i]] + 1) / (total[class] + size))
        if (found == "" || score > most) { most = score; found = class }
    }
    return found
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

function words(text, word) {
    return split(tolower(text), word, /[^a-z']+/)
}

function tell(phase,    meter) {
    if (ENVIRON["BENCH_EVENTS_FD"] == "") return
    meter = "/dev/fd/" ENVIRON["BENCH_EVENTS_FD"]
    print "{\"event\": \"phase_start\", \"phase\": \"" phase "\"}" > meter
    close(meter)
}
