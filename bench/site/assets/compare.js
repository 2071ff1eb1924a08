/* The page that compares runs: reads which from the address (#RUN,RUN), loads the data of each as a
   script, and draws. All that is shown is put in as text. */
"use strict";
(function () {
  const NAMES = "ABCD", MOST = NAMES.length, MOST_PICKS = 30;
  const ID = /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,119}$/;
  const numbers = bench.statistics, words = bench.comparison;
  const picking = document.querySelector(".picking");
  const chosen = picking.querySelector(".chosen");
  const told = picking.querySelector(".told");
  const input = picking.querySelector("input");
  const picks = picking.querySelector("#picks");
  const body = document.querySelector(".comparison");
  const folder = picking.dataset.list.replace(/[^/]*$/, "");
  const title = document.title;

  /* --- elements */

  const SVG = "http://www.w3.org/2000/svg";
  const OF_SVG = new Set(["svg", "path", "rect", "g", "line", "text", "title", "desc", "circle"]);

  function el(tag, facts, ...children) {
    const made = OF_SVG.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(facts || {})) {
      if (typeof value === "function") made.addEventListener(name, value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
    }
    made.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== ""));
    return made;
  }

  function section(heading, ...children) {
    return el("section", {}, el("h2", {}, heading), ...children);
  }

  /* A run's letter with its line, as the plots have it. */
  function mark(i) {
    return el("span", { class: "mark run-" + (i + 1) }, swatch(i), NAMES[i]);
  }

  function swatch(i) {
    return el("svg", { class: "run-line run-" + (i + 1), viewBox: "0 0 26 10", width: 26, height: 10, "aria-hidden": "true" },
      el("path", { class: "course", d: "M0 5H26" }));
  }

  function level(side) {
    if (side.coverage === "nothing") return el("span", { class: "tag warn" }, "nothing was read");
    const estimated = side.level === "M0";
    return el("span", { class: "tag " + (estimated ? "estimated" : "measured") },
      estimated ? "estimated, not measured" : "measured, " + side.level);
  }

  function titleOf(run) {
    return run.side.model + " " + run.side.recipe;
  }

  /* --- the address */

  function asked() {
    let text = location.hash.slice(1);
    try { text = decodeURIComponent(text); } catch (error) { /* as it is */ }
    return text.split(",").map((id) => id.trim()).filter(Boolean);
  }

  function go(ids) {
    location.hash = ids.join(",");
    if (!ids.length) history.replaceState(null, "", location.pathname + location.search);
  }

  /* --- loading */

  const known = new Map(); // id -> its data, or null where there is none
  const waiting = new Map();
  let list = null; // of all runs; null where it could not be read
  bench.run = (facts) => { if (waiting.has(facts.id)) known.set(facts.id, facts); };
  bench.runs = (facts) => { list = facts; };

  function script(address) {
    return new Promise((resolve) => {
      const made = el("script", { src: address, load: resolve, error: resolve });
      document.head.append(made);
    });
  }

  async function load(id) {
    if (!waiting.has(id)) waiting.set(id, script(folder + encodeURIComponent(id) + ".js"));
    await waiting.get(id);
    if (!known.has(id)) known.set(id, null);
    return known.get(id);
  }

  /* --- the list of all runs */

  const TASK = 1, MODEL = 2, RECIPE = 3, SEED = 4, HARDWARE = 5, DAY = 6, LEVEL = 7, ENTRY = 8, CELL = 9;
  let rows = new Map(), texts = [];

  function listed() {
    if (!list) return;
    rows = new Map(list.rows.map((row) => [row[0], row]));
    texts = list.rows.map((row) => (label(row) + " " + about(row)).toLowerCase());
  }

  function label(row) {
    return list.models[row[MODEL]] + " " + list.recipes[row[RECIPE]];
  }

  function about(row) {
    const day = row[DAY] === null ? "" : new Date(row[DAY] * 864e5).toISOString().slice(0, 10);
    const how = list.levels[row[LEVEL]] === "M0" ? "estimated" : "measured " + list.levels[row[LEVEL]];
    return [list.tasks[row[TASK]], list.hardware[row[HARDWARE]], "seed " + row[SEED], day, how, row[0]].filter(Boolean).join(" · ");
  }

  /* Without words what suits the first run: its repeats, then its cell, the best first, then its
     task. With words all that have them, in the same order. */
  function matching(query, ids) {
    const asked = query.toLowerCase().split(/\s+/).filter(Boolean);
    const first = rows.get(ids[0]);
    const near = (row) => !first ? 0 : row[ENTRY] === first[ENTRY] ? 0 : row[CELL] === first[CELL] && row[CELL] >= 0 ? 1 : row[TASK] === first[TASK] ? 2 : 3;
    const found = [[], [], [], []];
    list.rows.forEach((row, i) => {
      if (!ids.includes(row[0]) && asked.every((word) => texts[i].includes(word))) found[near(row)].push(row);
    });
    return found.flat();
  }

  /* --- picking */

  let shownIds = [], at = -1, offered = [];

  function offer() {
    offered = list ? matching(input.value, shownIds) : [];
    const first = rows.get(shownIds[0]);
    at = -1;
    picks.replaceChildren(...offered.slice(0, MOST_PICKS).map((row, i) => el("li", {
      role: "option", id: "pick-" + i, "aria-selected": "false",
      mousedown: (event) => event.preventDefault(), click: () => add(row[0]),
    }, el("b", {}, label(row)), first && first[ENTRY] === row[ENTRY] ? " · a repeat of A" : "", el("small", {}, about(row)))));
    if (offered.length > MOST_PICKS) picks.append(el("li", { role: "option", "aria-disabled": "true", "aria-selected": "false", class: "soft" }, (offered.length - MOST_PICKS) + " more: add a word"));
    if (!offered.length) picks.append(el("li", { role: "option", "aria-disabled": "true", "aria-selected": "false", class: "soft" }, list ? "no run has all of these words" : "the list of runs can't be read: an id can be typed"));
    opened(true);
  }

  function opened(open) {
    picks.hidden = !open;
    input.setAttribute("aria-expanded", String(open));
    if (!open) point(-1);
  }

  function point(next) {
    const options = picks.querySelectorAll("li:not([aria-disabled])");
    if (options[at]) options[at].setAttribute("aria-selected", "false");
    at = options.length ? Math.max(-1, Math.min(next, options.length - 1)) : -1;
    if (options[at]) {
      options[at].setAttribute("aria-selected", "true");
      options[at].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", options[at].id);
    } else input.removeAttribute("aria-activedescendant");
  }

  function add(id) {
    input.value = "";
    opened(false);
    go([...shownIds, id]);
  }

  function pressed(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (picks.hidden) offer();
      point(at + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Escape") opened(false);
    else if (event.key === "Enter") {
      event.preventDefault();
      if (!picks.hidden && at >= 0) add(offered[at][0]);
      else if (input.value.trim()) typed(input.value.trim());
    }
  }

  /* An id, several, or words that fit one run alone. */
  function typed(text) {
    const ids = text.split(/[\s,]+/);
    if (ids.every((id) => (list ? rows.has(id) : ID.test(id)))) add(ids.join(","));
    else if (list && matching(text, shownIds).length === 1) add(matching(text, shownIds)[0][0]);
    else offer();
  }

  function choices(ids) {
    chosen.replaceChildren(...ids.map((id, i) => {
      const row = rows.get(id), run = known.get(id);
      const name = run && run.side ? titleOf(run) : row ? label(row) : id;
      const others = ids.filter((other) => other !== id);
      return el("li", {}, mark(i), el("span", { class: "run-who" }, el("b", {}, name), el("small", {}, row ? about(row) : id)),
        el("span", { class: "screen-only" },
          i ? el("button", { type: "button", "aria-label": "Make " + NAMES[i] + ", " + name + ", run A", click: () => { go([id, ...others]); input.focus(); } }, "make A") : "",
          el("button", { type: "button", "aria-label": "Remove " + NAMES[i] + ", " + name, click: () => { go(others); input.focus(); } }, "remove")));
    }));
    chosen.hidden = !ids.length;
    picking.querySelector(".combo").hidden = ids.length >= MOST;
    picking.querySelector("label").textContent = ids.length === 1 ? "Add a run to compare with" : "Add a run";
  }

  /* --- what is wrong with what was asked for */

  function taken(ids) {
    const said = [], good = [];
    for (const id of ids) {
      if (good.includes(id)) said.push("Run " + id + " is named twice: it is shown once.");
      else if (!ID.test(id) || (list && !rows.has(id))) said.push("There is no run " + id.slice(0, 40) + " on this site.");
      else good.push(id);
    }
    if (good.length > MOST) said.push("Four runs are compared at most: " + (good.length - MOST) + " of these " + good.length + " are left out.");
    return [good.slice(0, MOST), said];
  }

  let turn = 0;

  async function show() {
    if (location.hash === "#main") { // of the link that skips to the content
      history.replaceState(null, "", shownIds.length ? "#" + shownIds.join(",") : location.pathname + location.search);
      return;
    }
    const mine = ++turn;
    const [ids, said] = taken(asked());
    const loaded = await Promise.all(ids.map(load));
    if (mine !== turn) return; // another was asked for meanwhile
    const good = [];
    ids.forEach((id, i) => {
      if (!loaded[i]) said.push("The data of run " + id + " is missing: " + folder + id + ".js can't be read.");
      else good.push(loaded[i]);
    });
    shownIds = ids.filter((id, i) => loaded[i]);
    choices(shownIds);
    draw(good, said);
  }

  function draw(runs, said) {
    const tasks = Array.from(new Set(runs.map((run) => run.task)));
    const levels = new Set(runs.map((run) => run.side.level === "M0"));
    if (tasks.length > 1) said.push("These runs are of different tasks, " + tasks.join(" and ") + ": what they reached is not compared.");
    if (levels.size > 1) said.push("Some of these runs are measured, others estimated: their energies don't compare, and are drawn apart.");
    if (runs.length === 1 && !said.length) said.push("One run can't be compared: add another, its repeats and the best of its board come first.");
    told.replaceChildren(...said.map((text) => el("p", { class: "note" }, text)));
    document.title = runs.length ? runs.map(titleOf).join(" against ") + " · bench" : title;
    resized.forget();
    if (!runs.length) body.replaceChildren(...examples());
    else body.replaceChildren(...drawn(runs).filter(Boolean));
    resized.now();
  }

  function drawn(runs) {
    const found = words.compare(runs);
    return [
      section("Side by side", sides(runs)),
      runs.length > 1 ? against(runs, found) : null,
      traces(runs),
      curves(runs),
      runs.length > 1 ? section("What differs", settings(runs, found.settings)) : null,
      runs.length > 1 ? section("The same in a terminal", el("p", {}, el("code", { class: "command" }, "bench compare " + runs.map((r) => r.side.run_id).join(" ")))) : null,
    ];
  }

  /* The two best entries of each cell. */
  function examples() {
    if (!list) return [];
    const cells = new Map();
    for (const row of list.rows) {
      const found = cells.get(row[CELL]) || [];
      if (row[CELL] >= 0 && found.length < 2 && !found.some((one) => one[ENTRY] === row[ENTRY])) cells.set(row[CELL], [...found, row]);
    }
    const pairs = Array.from(cells.values()).filter((pair) => pair.length === 2).slice(0, 8);
    return pairs.length ? [section("For example", el("ul", { class: "examples" }, pairs.map((pair) => el("li", {},
      el("a", { href: "#" + pair.map((row) => row[0]).join(",") }, label(pair[0]) + " and " + label(pair[1])),
      el("small", {}, [list.tasks[pair[0][TASK]], list.hardware[pair[0][HARDWARE]], list.levels[pair[0][LEVEL]] === "M0" ? "estimated" : "measured"].join(" · "))))))] : [];
  }

  /* --- tables */

  function table(caption, heads, lines) {
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
      el("table", { class: "full beside of-" + heads.length }, el("caption", { class: "unseen" }, caption),
        el("thead", {}, el("tr", {}, el("td", {}), heads.map((head) => el("th", { scope: "col" }, head)))),
        el("tbody", {}, lines)));
  }

  function line(name, cells, how) {
    return el("tr", { class: how || null }, el("th", { scope: "row" }, name), cells.map((cell) => el("td", {}, cell)));
  }

  function pm(text) {
    return text ? el("span", { class: "pm" }, text) : "";
  }

  function sides(runs) {
    const heads = runs.map((run, i) => [mark(i), " ", el("a", { href: folder + encodeURIComponent(run.id) + ".html" }, titleOf(run))]);
    const phases = Array.from(new Set(runs.flatMap((run) => Object.keys(run.side.phases))));
    phases.sort((a, b) => (a === "other") - (b === "other")); // it lies between the others
    const known = runs.map((run) => run.side.energy_j).filter(Boolean), most = Math.max(...known);
    const like = (run) => (most < 1e4 * Math.min(...known) ? most : run.side.energy_j); // one unit, where none is dwarfed
    return table("Runs side by side", heads, [
      line("seed", runs.map((run) => String(run.side.seed))),
      line("date", runs.map((run) => run.date)),
      line("hardware", runs.map((run) => run.hardware)),
      line(same(runs, (run) => run.score && run.score.notation[0]) || "metric", runs.map(reached), "numeral"),
      line("energy", runs.map((run) => joules(run, like(run))), "numeral"),
      line("how that is known", runs.map((run) => [level(run.side), " ", run.side.coverage === "nothing" ? "" : run.side.coverage])),
      line("time", runs.map((run) => (run.side.duration_s === null ? words.fill("not_known") : numbers.duration(run.side.duration_s))), "numeral"),
      ...phases.map((name) => line(name, runs.map((run) => phase(run.side.phases[name], like(run))), "of-phase")),
      ...(runs.some(doubts) ? [line("to be known", runs.map((run) => doubts(run) || "–"), "of-phase")] : []),
    ]);
  }

  function same(runs, of) {
    const found = new Set(runs.map(of));
    return found.size === 1 ? of(runs[0]) : null;
  }

  function reached(run) {
    if (!run.score) return words.fill("no_value", { status: run.side.status });
    const how = ["", ...run.score.notation.slice(1)], ends = run.score.interval;
    const sure = ends ? ends.map((end) => numbers.number(how, end)).join(" to ") + " " + how[1] + " (95 %, " + run.score.n.toLocaleString("en") + " examples)" : "";
    return [numbers.metric(how, run.side.value).trim(), " ", pm(sure)];
  }

  function joules(run, likeJ) {
    const side = run.side;
    if (side.energy_j === null) return words.fill("not_known");
    const share = side.uncertainty_j === null ? "uncertainty not known" : "±" + numbers.fixed(100 * side.uncertainty_j / side.energy_j, 0) + " % (k = 2)";
    return [(side.level === "M0" ? "≈" : "") + numbers.energy(side.energy_j, likeJ), " ", pm(share)];
  }

  function phase(facts, wholeJ) {
    if (!facts) return "–";
    const energy = facts.energy_j === null ? words.fill("no_phase_energy") : numbers.energy(facts.energy_j, wholeJ);
    return numbers.duration(facts.duration_s || 0) + ", " + energy;
  }

  function doubts(run) {
    return [run.said, ...run.doubts].filter(Boolean).join("; ");
  }

  function settings(runs, found) {
    if (!found.length) return el("p", {}, words.fill("same_settings"));
    return table("Settings that differ", runs.map((_, i) => mark(i)),
      found.map(([name, values]) => line(name, values.map(words.shown), "setting")));
  }

  /* --- each against the first */

  function against(runs, found) {
    const metric = runs[0].side.metric || "metric";
    const how = runs[0].score ? runs[0].score.notation : [metric, "", 1, null];
    const scale = ratioScale(found.pairs);
    return section("Against A", el("div", { class: "versuses" }, found.pairs.map((pair, i) => {
      const name = NAMES[i + 1], energy = pair.energy;
      return el("div", { class: "versus" }, el("h3", {}, mark(i + 1), " " + titleOf(runs[i + 1])),
        el("dl", { class: "facts" },
          el("dt", {}, how[0]), verdict(words.scoreText(pair.score, how, name, metric), pair.score),
          el("dt", {}, "energy"), verdict(words.energyText(energy), energy, ratioStrip(energy, scale, i + 1), energy.note ? el("small", {}, energy.note) : ""),
          el("dt", {}, "time"), verdict(words.timeText(pair.duration_ratio), pair.duration_ratio === null ? "" : {})));
    })));
  }

  function verdict(text, found, ...more) {
    if (typeof found === "string") return el("dd", { class: "soft" }, text);
    const end = text.search(/[:;,]/); // of the difference itself
    return el("dd", {}, el("b", {}, end < 0 ? text : text.slice(0, end)), end < 0 ? "" : text.slice(end), ...more);
  }

  /* All intervals of a page on one logarithmic axis, on which A is 1. */
  function ratioScale(pairs) {
    const ends = pairs.flatMap((pair) => (typeof pair.energy === "string" ? [] : [pair.energy.ratio, ...(pair.energy.interval || [])]));
    const most = Math.max(Math.log(1.2), ...ends.map((r) => Math.abs(Math.log(r)))) * 1.08;
    return (ratio) => 100 + 100 * Math.log(ratio) / most;
  }

  function ratioStrip(energy, scale, i) {
    if (typeof energy === "string") return "";
    const [low, high] = energy.interval || [energy.ratio, energy.ratio];
    const x = (ratio) => scale(ratio).toFixed(1);
    return el("svg", { class: "ratio run-" + (i + 1), viewBox: "-4 0 208 18", width: 208, height: 18, "aria-hidden": "true" },
      el("path", { class: "rule", d: "M0 9H200" }), el("path", { class: "one", d: "M100 2V16" }), el("text", { x: 103, y: 5 }, "A"),
      energy.interval ? el("path", { class: "course", d: "M" + x(low) + " 9H" + x(high) }) : "",
      el("circle", { cx: x(energy.ratio), cy: 9, r: 4 }));
  }

  /* --- plots */

  /* They are drawn for the width that there is, and again for another. */
  const resized = (function () {
    let plots = [], timer = 0, width = 0;
    function now() {
      width = body.clientWidth;
      for (const [place, make] of plots) place.replaceChildren(make(Math.max(280, place.clientWidth)));
    }
    addEventListener("resize", () => {
      clearTimeout(timer);
      timer = setTimeout(() => { if (body.clientWidth !== width) now(); }, 120);
    });
    return {
      now,
      forget() { plots = []; },
      plot(make) {
        const place = el("div", { class: "run-plot" });
        plots.push([place, make]);
        return place;
      },
    };
  })();

  /* Round steps that cover low to high. */
  function ticks(low, high, most) {
    const rough = (high - low || 1) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(Number((i * step).toPrecision(12)));
    return found;
  }

  function tick(value) {
    return value.toLocaleString("en", { maximumSignificantDigits: 6 });
  }

  /* Grid, axes and their names; x and y map values to pixels. */
  function axes(box, x, y, xTicks, yTicks, xName, yName) {
    return [
      ...yTicks.map((v) => el("path", { class: v === 0 ? "axis-line" : "grid-line", d: "M" + box.left + " " + y(v) + "H" + box.right })),
      ...yTicks.map((v) => el("text", { class: "tick", x: box.left - 7, y: y(v), dy: ".32em", "text-anchor": "end" }, tick(v))),
      ...xTicks.map((v) => el("path", { class: "axis-line", d: "M" + x(v) + " " + box.bottom + "v4" })),
      ...xTicks.map((v) => el("text", { class: "tick", x: x(v), y: box.bottom + 17, "text-anchor": "middle" }, tick(v))),
      el("path", { class: "axis-line", d: "M" + box.left + " " + box.bottom + "H" + box.right }),
      el("text", { class: "axis-name", x: box.right, y: box.bottom + 33, "text-anchor": "end" }, xName),
      el("text", { class: "axis-name", x: 0, y: 11 }, yName),
    ];
  }

  function legend(mine) {
    return el("p", { class: "run-keys" }, mine.map(([run, i]) => el("span", {}, mark(i), " " + titleOf(run), run.side.level === "M0" ? " (estimated)" : "")));
  }

  /* Measured and estimated runs have plots of their own. */
  function panels(runs, of) {
    const each = runs.map((run, i) => [run, i]);
    const found = new Map();
    for (const [run, i] of each) {
      const key = (run.side.level === "M0") + " " + of(run);
      found.set(key, [...(found.get(key) || []), [run, i]]);
    }
    return Array.from(found.values());
  }

  function figure(mine, apart, ...children) {
    const estimated = mine[0][0].side.level === "M0";
    return el("figure", { class: estimated ? "estimated" : null },
      apart || estimated ? el("p", { class: "how-known" }, level(mine[0][0].side)) : "", legend(mine), ...children);
  }

  /* --- power over time */

  const TIMES = [["s", 1, 300], ["min", 60, 7200], ["h", 3600, Infinity]];
  const PHASES = new Set(["prepare", "train", "evaluate", "predict"]);
  let stretched = false;

  function traces(runs) {
    const good = runs.filter((run) => typeof run.power !== "string");
    const missing = runs.map((run, i) => (typeof run.power === "string" ? "No trace of " + NAMES[i] + ": " + run.power + "." : ""));
    const groups = panels(runs, () => "").map((mine) => mine.filter(([run]) => typeof run.power !== "string")).filter((mine) => mine.length);
    const box = el("input", { type: "checkbox", change: () => { stretched = box.checked; resized.now(); } });
    box.checked = stretched;
    return section("Power over time",
      el("p", { class: "soft" }, "Total power of the devices that are charged, from the start of each run’s window; a point is the mean over 1/" + Math.max(0, ...good.map((run) => run.power.power_w.length)) + " of it or less. Under it the phases of each run."),
      good.length > 1 ? el("p", { class: "screen-only" }, el("label", { class: "stretch" }, box, " stretch every run to the same length")) : "",
      groups.map((mine) => figure(mine, groups.length > 1, resized.plot((width) => powerPlot(mine, width)), reader(mine), said(mine))),
      missing.filter(Boolean).map((text) => el("p", { class: "note" }, text)));
  }

  function said(mine) {
    return el("ul", { class: "in-words" }, mine.map(([run, i]) => el("li", {}, describe(run, i))));
  }

  function describe(run, i) {
    const watts = run.power.power_w.filter((w) => w !== null);
    const mean = watts.reduce((sum, w) => sum + w, 0) / watts.length;
    const gaps = run.power.power_w.length - watts.length;
    return NAMES[i] + ": " + numbers.significant(mean) + " W on average, " + numbers.significant(Math.max(...watts)) + " W at most, over " +
      numbers.duration(run.window_s) + (gaps ? "; nothing was read in " + numbers.fixed(100 * gaps / run.power.power_w.length, 0) + " % of it" : "");
  }

  function powerPlot(mine, width) {
    const longest = Math.max(...mine.map(([run]) => run.window_s));
    const top = Math.max(1e-9, ...mine.flatMap(([run]) => run.power.power_w.map((w) => w || 0)));
    const height = width < 560 ? 190 : 270, row = 19;
    const box = { left: 46, right: width - 4, top: 22, bottom: 22 + height };
    const unit = TIMES.find((one) => longest <= one[2]);
    const yTicks = ticks(0, top * 1.04, 5);
    const yTop = Math.max(top * 1.04, yTicks[yTicks.length - 1]);
    const share = (run, t) => (stretched ? t / run.window_s : t / longest);
    const px = (v) => Math.round(10 * v) / 10;
    const x = (run, t) => px(box.left + share(run, t) * (box.right - box.left));
    const y = (w) => px(box.bottom - w / yTop * (box.bottom - box.top));
    const xTicks = stretched ? [0, 25, 50, 75, 100] : ticks(0, longest / unit[1], width < 560 ? 5 : 10);
    const ofTick = (v) => px(box.left + v / (stretched ? 100 : longest / unit[1]) * (box.right - box.left));
    const below = box.bottom + 44, total = below + row * mine.length;
    return el("svg", { role: "img", "aria-label": "Power over time. " + mine.map(([run, i]) => describe(run, i)).join(". "), viewBox: "0 0 " + width + " " + total, width, height: total },
      axes(box, ofTick, y, xTicks, yTicks, stretched ? "% of each run" : "time, " + unit[0], "W"),
      mine.map(([run, i]) => el("path", { class: "course run-" + (i + 1), d: tracePath(run, x, y) })),
      mine.map(([run, i], n) => ruler(run, i, below + n * row, x)));
  }

  function tracePath(run, x, y) {
    let d = "", pen = "M";
    run.power.power_w.forEach((w, k) => {
      if (w === null) pen = "M";
      else { d += pen + x(run, (k + 0.5) * run.power.step_s) + " " + y(w); pen = "L"; }
    });
    return d;
  }

  function ruler(run, i, top, x) {
    return el("g", { class: "ruler" }, el("text", { class: "tick", x: 26, y: top + 11, "text-anchor": "end" }, NAMES[i]),
      run.spans.map(([name, start, stop]) => {
        const left = x(run, start), wide = Math.max(0.4, x(run, stop) - left);
        const kind = PHASES.has(name) ? name : "other";
        return el("g", {}, el("rect", { class: "phase-span " + kind, x: left, y: top, width: wide.toFixed(1), height: 15 },
          el("title", {}, NAMES[i] + ": " + name + ", " + numbers.duration(stop - start))),
        wide > 6.2 * name.length + 8 ? el("text", { class: "span", x: left + 4, y: top + 11 }, name) : "");
      }));
  }

  /* The power of all runs at one time, for keys, fingers and screen readers. */
  function reader(mine) {
    const longest = Math.max(...mine.map(([run]) => run.window_s));
    const output = el("output", {});
    const range = el("input", { type: "range", min: 0, max: 1000, value: 0, input: read });
    function read() {
      const share = range.value / 1000;
      const each = mine.map(([run, i]) => {
        const t = stretched ? share * run.window_s : share * longest, k = Math.floor(t / run.power.step_s);
        const w = run.power.power_w[Math.min(k, run.power.power_w.length - 1)];
        return NAMES[i] + (t > run.window_s * 1.0001 ? " has ended" : w === null ? " not read" : " " + numbers.significant(w) + " W");
      });
      const text = (stretched ? numbers.fixed(100 * share, 1) + " %" : numbers.duration(share * longest)) + ": " + each.join(", ");
      output.textContent = text;
      range.setAttribute("aria-valuetext", text);
    }
    read();
    return el("p", { class: "read-at screen-only" }, el("label", {}, "read at ", range), " ", output);
  }

  /* --- metric on the tune split over energy */

  function curves(runs) {
    const groups = panels(runs, (run) => (typeof run.learning === "string" ? "" : run.task + " " + run.learning.metric))
      .map((mine) => mine.filter(([run]) => typeof run.learning !== "string")).filter((mine) => mine.length);
    const missing = runs.map((run, i) => (typeof run.learning === "string" ? "No learning curve of " + NAMES[i] + ": " + run.learning + "." : ""));
    if (!groups.length && runs.length === 1) return null;
    return section("Learning over energy",
      el("p", { class: "soft" }, "The metric on rows held out of the training rows, against all energy until then, earlier parts and teachers included. On the way energy goes as the meters read it."),
      groups.map((mine) => figure(mine, groups.length > 1, resized.plot((width) => curvePlot(mine, width)), points(mine))),
      missing.filter(Boolean).map((text) => el("p", { class: "note" }, text)));
  }

  function curvePlot(mine, width) {
    const all = mine.flatMap(([run]) => run.learning.points);
    const how = mine[0][0].learning.notation, height = width < 560 ? 190 : 270;
    const most = Math.max(...all.map((p) => p[0])), unit = numbers.energyUnit(most);
    const values = all.map((p) => p[1] * how[2]);
    const low = Math.min(...values), high = Math.max(...values), room = (high - low || Math.abs(high) || 1) * 0.08;
    const yTicks = ticks(low - room, high + room, 5);
    const box = { left: 52, right: width - 10, top: 22, bottom: 22 + height };
    const px = (v) => Math.round(10 * v) / 10;
    const x = (v) => px(box.left + v / (most * 1.02 / unit[1]) * (box.right - box.left));
    const y = (v) => px(box.bottom - (v - low + room) / (high - low + 2 * room) * (box.bottom - box.top));
    const name = (how[0] + " " + how[1]).trim();
    const text = mine.map(([run, i]) => NAMES[i] + " from " + numbers.metric(how, run.learning.points[0][1]) + " to " + numbers.metric(how, run.learning.points[run.learning.points.length - 1][1])).join(". ");
    return el("svg", { role: "img", "aria-label": "Learning over energy. " + text, viewBox: "0 0 " + width + " " + (box.bottom + 38), width, height: box.bottom + 38 },
      axes(box, x, y, ticks(0, most * 1.02 / unit[1], width < 560 ? 5 : 8), yTicks, "energy, " + unit[0], name + " on the tune split"),
      mine.map(([run, i]) => {
        const at = run.learning.points.map((p) => [x(p[0] / unit[1]), y(p[1] * how[2])]);
        return el("g", { class: "run-" + (i + 1) + (run.side.level === "M0" ? " run-hollow" : "") },
          el("path", { class: "course", d: "M" + at.map((p) => p.join(" ")).join("L") }),
          at.map((p, k) => el("path", { class: "run-point", d: shape(i, p[0], p[1]) },
            el("title", {}, NAMES[i] + ": " + numbers.metric(how, run.learning.points[k][1]) + " after " + numbers.energy(run.learning.points[k][0], most)))));
      }));
  }

  const SHAPES = ["m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "m-3.6 -3.6h7.2v7.2h-7.2z", "m0 -4.8l4.6 8h-9.2z", "m0 -5l5 5l-5 5l-5 -5z"];

  function shape(i, x, y) {
    return "M" + x + " " + y + SHAPES[i];
  }

  function points(mine) {
    const how = mine[0][0].learning.notation;
    const most = Math.max(...mine.flatMap(([run]) => run.learning.points.map((p) => p[0])));
    return el("details", { class: "screen-only" }, el("summary", {}, "The points as a table"),
      el("table", {}, el("thead", {}, el("tr", {}, ["run", "energy", how[0] + " on the tune split"].map((head, k) => el("th", { scope: "col", class: k ? "n" : null }, head)))),
        el("tbody", {}, mine.flatMap(([run, i]) => run.learning.points.map((p) => el("tr", {}, el("th", { scope: "row" }, NAMES[i]),
          el("td", { class: "n" }, numbers.energy(p[0], most)), el("td", { class: "n" }, numbers.metric(["", ...how.slice(1)], p[1]).trim())))))));
  }

  /* --- all together */

  async function begin() {
    document.querySelector(".scriptless").hidden = true;
    picking.hidden = false;
    await script(picking.dataset.list);
    listed();
    input.addEventListener("input", offer);
    input.addEventListener("focus", offer);
    input.addEventListener("click", offer);
    input.addEventListener("blur", () => opened(false));
    input.addEventListener("keydown", pressed);
    addEventListener("hashchange", show);
    await show();
    document.body.dataset.ready = "yes"; // for tests
  }

  begin();
})();
