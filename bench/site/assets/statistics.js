/* The arithmetic of a comparison, and how numbers are written: what bench.rank.score and bench.units
   do in Python, to the last digit that is shown. Nothing here touches a page. */
"use strict";
window.bench = window.bench || {};
bench.statistics = (function () {
  /* --- tests */

  /* McNemar's exact p: twice the binomial tail of the smaller count, each example a fair coin. */
  function mcnemar(firstOnly, secondOnly) {
    const n = firstOnly + secondOnly;
    if (n === 0) return 1;
    const k = Math.min(firstOnly, secondOnly);
    let term = 1, halvings = n; // of C(n, k) / 2^n, halved on the way so that it never overflows
    for (let i = 1; i <= k; i += 1) {
      term *= (n - i + 1) / i;
      while (term > 1e200 && halvings >= 64) { term *= 2 ** -64; halvings -= 64; }
    }
    let sum = 0, part = 1; // of the tail, in units of its largest term
    for (let i = k; i >= 0 && part > 1e-18 * sum; i -= 1) {
      sum += part;
      part *= i / (n - i + 1);
    }
    term *= sum;
    for (; halvings > 0; halvings -= 512) term *= 2 ** -Math.min(halvings, 512);
    return Math.min(1, 2 * term);
  }

  /* Gamma(a + 1/2) / Gamma(a): the series for large a, reached by steps of one. */
  function halfStep(a) {
    let factor = 1;
    for (; a < 60; a += 1) factor *= a / (a + 0.5);
    const x = 1 / a;
    const series = 1 + x * (-1 / 8 + x * (1 / 128 + x * (5 / 1024 + x * (-21 / 32768 + x * (-399 / 262144 + x * 869 / 4194304)))));
    return factor * Math.sqrt(a) * series;
  }

  /* The continued fraction of the incomplete beta function, by Lentz. */
  function fraction(a, b, x) {
    const tiny = 1e-300;
    const keep = (v) => (Math.abs(v) < tiny ? tiny : v);
    let c = 1, d = 1 / keep(1 - (a + b) * x / (a + 1)), h = d;
    for (let m = 1; m < 10000; m += 1) {
      const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
      d = 1 / keep(1 + even * d);
      c = keep(1 + even / c);
      h *= d * c;
      const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
      d = 1 / keep(1 + odd * d);
      c = keep(1 + odd / c);
      h *= d * c;
      if (Math.abs(d * c - 1) < 1e-16) break;
    }
    return h;
  }

  /* P(|T| > t) of Student's t for any degrees of freedom above 0. */
  function tails(df, t) {
    const a = df / 2, b = 0.5, u = t * t / df;
    const x = 1 / (1 + u), y = u / (1 + u);
    const front = halfStep(a) / Math.sqrt(Math.PI) * Math.exp(-a * Math.log1p(u)) * Math.sqrt(y);
    if (x < (a + 1) / (a + b + 2)) return front * fraction(a, b, x) / a;
    return 1 - front * fraction(b, a, y) / b;
  }

  function density(df, t) {
    const a = df / 2;
    return halfStep(a) / Math.sqrt(df * Math.PI) * Math.exp(-(a + 0.5) * Math.log1p(t * t / df));
  }

  /* The t that `level` of the distribution lies below, for levels above a half: Newton's steps,
     held between bounds that close in. */
  function tQuantile(df, level) {
    const both = 2 * (1 - level);
    let low = 0, high = 2;
    while (tails(df, high) > both) high *= 2;
    let t = high / 2;
    for (let i = 0; i < 200; i += 1) {
      const off = tails(df, t) - both;
      if (off > 0) low = t; else high = t;
      let next = t + off / (2 * density(df, t));
      if (!(next > low && next < high)) next = (low + high) / 2;
      if (Math.abs(next - t) <= 1e-14 * t) return next;
      t = next;
    }
    return t;
  }

  /* 95 % interval of the ratio of two single runs, from [scatter, runs] of each one's entry, or of
     one that speaks for both. */
  function ratioInterval(ratio, scatters) {
    const variances = scatters.map((s) => s[0] * s[0]);
    const sum = variances.reduce((x, y) => x + y, 0);
    const unsure = variances.reduce((x, v, i) => x + v * v / (scatters[i][1] - 1), 0);
    const half = tQuantile(sum * sum / unsure, 0.975) * Math.sqrt(2 * sum / variances.length);
    return [ratio * Math.exp(-half), ratio * Math.exp(half)];
  }

  /* --- bits: packed answers, the first in the highest bit */

  function bytes(text) {
    return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  }

  /* How many of n examples only the first, and only the second, got right. */
  function discordant(first, second, n) {
    const a = bytes(first), b = bytes(second);
    let onlyFirst = 0, onlySecond = 0;
    for (let i = 0; i < n; i += 1) {
      const bit = 1 << (7 - i % 8), at = i >> 3;
      const one = a[at] & bit, other = b[at] & bit;
      if (one && !other) onlyFirst += 1;
      if (other && !one) onlySecond += 1;
    }
    return [onlyFirst, onlySecond];
  }

  /* --- how numbers are written: as Python writes them, halves to even */

  /* `value` to so many decimals (below 0: tens, hundreds), exactly, as text. */
  function fixed(value, places) {
    const exact = Math.abs(value).toFixed(100), dot = exact.indexOf(".");
    const digits = exact.slice(0, dot) + exact.slice(dot + 1);
    const cut = dot + places;
    const kept = cut > 0 ? digits.slice(0, cut) : "0", rest = cut >= 0 ? digits.slice(cut) : "0" + digits;
    let whole = BigInt(kept);
    const half = "5" + "0".repeat(Math.max(0, rest.length - 1));
    if (rest > half || (rest === half && whole % 2n === 1n)) whole += 1n;
    let text = whole.toString();
    if (places > 0) text = text.padStart(places + 1, "0").replace(new RegExp("(.{" + places + "})$"), ".$1");
    else if (whole !== 0n) text += "0".repeat(-places);
    return (value < 0 || Object.is(value, -0) ? "-" : "") + text;
  }

  function grouped(text) {
    const parts = text.split(".");
    parts[0] = parts[0].replace(/\B(?=(\d{3})+(?!\d))/g, ",");
    return parts.join(".");
  }

  function significant(value, digits) {
    if (value === 0 || !Number.isFinite(value)) return String(value);
    const exponent = Number(Math.abs(value).toExponential((digits || 3) - 1).split("e")[1]);
    return grouped(fixed(value, (digits || 3) - 1 - exponent));
  }

  const UNITS = [["kWh", 3.6e6], ["Wh", 3600], ["J", 1]];

  function energyUnit(energyJ) {
    return UNITS.find((unit) => unit[1] === 1 || Math.abs(energyJ) >= 0.1 * unit[1]);
  }

  /* In the unit that suits it, or `likeJ`. */
  function energy(energyJ, likeJ) {
    const unit = energyUnit(likeJ === undefined || likeJ === null ? energyJ : likeJ);
    return significant(energyJ / unit[1]) + " " + unit[0];
  }

  function duration(durationS) {
    if (durationS < 59.95) return significant(durationS) + " s";
    const two = (n) => String(n).padStart(2, "0");
    const seconds = Number(fixed(durationS, 0));
    if (seconds < 3600) return Math.floor(seconds / 60) + " min " + two(seconds % 60) + " s";
    const minutes = Number(fixed(durationS / 60, 0));
    return Math.floor(minutes / 60) + " h " + two(minutes % 60) + " min";
  }

  /* --- metrics: `how` is [title, unit, times, decimals] */

  function number(how, value, more) {
    value *= how[2];
    return how[3] === null ? significant(value, 4) : grouped(fixed(value, how[3] + (more || 0)));
  }

  function metric(how, value) {
    return (how[0] + " " + number(how, value) + " " + how[1]).trimEnd();
  }

  function difference(how, value) {
    return (value < 0 ? "-" : "+") + number(how, Math.abs(value), 1) + (how[1] ? " points" : "");
  }

  return {
    mcnemar, tQuantile, ratioInterval, discordant, fixed, significant, energyUnit, energy, duration,
    number, metric, difference,
  };
})();
