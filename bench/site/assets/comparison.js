/* Runs side by side: what bench.rank.compare does in Python, from what bench.site.rundata hands over,
   in the words of bench.rank.compare. Nothing here touches a page. */
"use strict";
window.bench = window.bench || {};
bench.words = function (said) { bench.said = said; };
bench.comparison = (function () {
  const numbers = bench.statistics;

  function fill(name, facts) {
    return bench.said.words[name].replace(/\{(\w+)\}/g, (_, key) => facts[key]);
  }

  /* A text is why there is no comparison. */
  function compare(runs) {
    const [first, ...others] = runs;
    return {
      settings: differences(runs),
      pairs: others.map((other) => ({
        id: other.id,
        score: score(first, other),
        energy: energy(first, other),
        duration_ratio: durationRatio(first, other),
      })),
    };
  }

  function durationRatio(first, other) {
    const a = first.side.duration_s, b = other.side.duration_s;
    return first.ended && other.ended && a && b ? b / a : null;
  }

  /* --- settings */

  /* What differs: its name and its value in each run; null: not there. */
  function differences(runs) {
    const names = new Set(runs.flatMap((run) => Object.keys(run.facts)));
    const values = Array.from(names, (name) => [name, runs.map((run) => (Object.hasOwn(run.facts, name) ? run.facts[name] : null))]);
    return values.filter(([, each]) => each.some((value) => !same(value, each[0])));
  }

  /* A list is a text that can't be shown as it is, and its digest. Python takes true for 1. */
  function same(a, b) {
    if (Array.isArray(a) || Array.isArray(b)) return Array.isArray(a) && Array.isArray(b) && a[1] === b[1] && a[0] !== "nan";
    const plain = (v) => (typeof v === "boolean" ? Number(v) : v);
    return plain(a) === plain(b);
  }

  function shown(value) {
    return value === null ? "–" : String(Array.isArray(value) ? value[0] : value);
  }

  /* --- the metric */

  function score(first, other) {
    const a = first.score, b = other.score;
    if (!a || !b) return fill("no_metric");
    if (first.task !== other.task) return fill("tasks");
    if (first.side.metric !== other.side.metric) return fill("metrics", { first: first.side.metric, this: other.side.metric });
    if (first.scored === null || first.scored !== other.scored || a.n !== b.n) return fill("examples");
    const found = { difference: other.side.value - first.side.value, better: a.better, only_first: null, only_this: null, p: null };
    if (a.correct === null && b.correct === null && first.side.metric !== "accuracy") return found;
    if (!a.correct || !b.correct) return fill("no_bits");
    [found.only_first, found.only_this] = numbers.discordant(a.correct, b.correct, a.n);
    found.p = numbers.mcnemar(found.only_first, found.only_this);
    return found;
  }

  function scoreText(found, how, name, metric) {
    if (typeof found === "string") return fill("not_compared", { why: found });
    let text = numbers.difference(how, found.difference);
    if (found.better === "lower") text = fill("less_is_better", { text });
    if (found.p === null) return fill("one_each", { text });
    return fill("mcnemar", {
      text, name, this: found.only_this, first: found.only_first, p: shownP(found.p),
      told: fill(found.p < bench.said.alpha ? "differ" : "alike"),
      of: metric === "accuracy" ? "" : fill("of_answers"),
    });
  }

  function shownP(p) {
    return p < 0.0001 ? "< 0.0001" : "= " + numbers.fixed(p, p < 0.1 ? 4 : 2);
  }

  /* --- energy */

  function energy(first, other) {
    const a = first.side, b = other.side;
    if (a.energy_j === null || b.energy_j === null) return fill("no_energy");
    if (!first.ended || !other.ended) return fill("not_ended");
    if ((a.level === "M0") !== (b.level === "M0")) return fill("estimated");
    if (a.coverage !== b.coverage) return fill("coverage", { first: a.coverage, this: b.coverage });
    const ratio = b.energy_j / a.energy_j;
    if (first.meter === other.meter) return onOneMeter(ratio, first, other);
    if (a.uncertainty_j === null || b.uncertainty_j === null) return { ratio, interval: null, basis: "none", note: fill("no_uncertainty") };
    const both = Math.hypot(a.uncertainty_j / a.energy_j, b.uncertainty_j / b.energy_j);
    const note = fill(a.level === "M0" ? "two_estimates" : "two_meters");
    return { ratio, interval: [ratio / (1 + both), ratio * (1 + both)], basis: "meters", note };
  }

  function onOneMeter(ratio, first, other) {
    const what = fill(first.side.level === "M0" ? "one_formula" : "one_meter");
    const entries = first.entry === other.entry ? [other] : [first, other];
    const found = entries.map((run) => run.repeats).filter(Boolean);
    if (!found.length) return { ratio, interval: null, basis: "none", note: fill("no_repeats", { what }) };
    const runs = found.map((one) => one[1]).join(fill("and"));
    const borrowed = found.length === entries.length ? "" : fill("borrowed");
    const note = fill("repeats", { what, runs, borrowed });
    return { ratio, interval: numbers.ratioInterval(ratio, found), basis: "repeats", note };
  }

  function energyText(found) {
    if (typeof found === "string") return fill("not_compared", { why: found });
    const text = fill("times", { ratio: numbers.significant(found.ratio) });
    if (!found.interval) return text;
    const [low, high] = found.interval;
    const apart = low > 1 || high < 1 ? "" : fill("not_apart");
    return fill("interval", { text, low: numbers.significant(low), high: numbers.significant(high), apart });
  }

  function timeText(ratio) {
    return ratio === null ? fill("no_time") : fill("times", { ratio: numbers.significant(ratio) });
  }

  return { compare, fill, shown, scoreText, energyText, timeText };
})();
