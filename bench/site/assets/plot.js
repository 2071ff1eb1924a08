/* The plot of a board follows its filters: what they leave out of the tables fades, and the fronts
   are drawn over what is left. Dots and rows have numbers in common. */
"use strict";
(function () {
  const figure = document.querySelector("figure.chart.of-rows");
  const rows = Array.from(document.querySelectorAll("tr[data-dot]"));
  if (!figure) return;
  const whole = figure.dataset.whole === "true"; // every entry is drawn, not some of too many
  const said = figure.querySelector(".left");

  /* The groups that have fronts of their own, by the numbers of their dots; only what is left. */
  function left() {
    const shown = rows.filter((row) => !row.hidden);
    return new Map(shown.map((row) => [row.dataset.dot, row.closest("section.cell").dataset.meters]));
  }

  /* Of points [energy, -skill, …], those that none beats, by energy. */
  function front(points) {
    let best = Infinity;
    const order = points.slice().sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    return order.filter((point) => point[1] < best && ((best = point[1]), true));
  }

  function grouped(pairs) {
    const groups = new Map();
    for (const [group, value] of pairs) groups.set(group, (groups.get(group) || []).concat([value]));
    return Array.from(groups.values());
  }

  function draw(svg, shown) {
    for (const old of svg.querySelectorAll(".front-left")) old.remove();
    const some = shown.size < rows.length;
    svg.classList.toggle("filtered", some);
    for (const mark of svg.querySelectorAll("[data-dot]")) mark.classList.toggle("out", !shown.has(mark.dataset.dot));
    const dots = Array.from(svg.querySelectorAll("a > [data-dot]"));
    for (const dot of dots) {
      if (shown.has(dot.dataset.dot)) dot.parentNode.removeAttribute("aria-hidden");
      else dot.parentNode.setAttribute("aria-hidden", "true");
    }
    if (!some || !whole || !dots.length) return;
    const layer = dots[0].parentNode.parentNode;
    const here = dots.filter((dot) => shown.has(dot.dataset.dot));
    for (const points of grouped(here.map((dot) => [shown.get(dot.dataset.dot), place(dot)]))) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", "front-left");
      path.setAttribute("d", steps(front(points)));
      layer.insertBefore(path, layer.firstChild);
    }
  }

  function place(dot) {
    return dot.getAttribute("transform").match(/-?[\d.]+/g).slice(0, 2).map(Number);
  }

  function steps(points) {
    return points.map((p, i) => (i ? "H" + p[0] + "V" + p[1] : "M" + p[0] + "," + p[1])).join("");
  }

  /* The same of a plot as Vega-Lite has it. */
  function filtered(spec) {
    const shown = left();
    if (shown.size === rows.length) return spec;
    const copy = JSON.parse(JSON.stringify(spec));
    const named = (name) => copy.layer.find((layer) => layer.name === name).data.name;
    for (const name of Object.keys(copy.datasets)) {
      copy.datasets[name] = copy.datasets[name].filter((row) => row.dot === undefined || shown.has(String(row.dot)));
    }
    const points = copy.datasets[named("points")].map((row) => [row.group, [row.energy, -row.skill, row]]);
    const fronts = whole ? grouped(points).flatMap((each) => front(each).map((point) => point[2])) : [];
    copy.datasets[named("fronts")] = fronts;
    return copy;
  }

  function follow() {
    const shown = left();
    for (const svg of figure.querySelectorAll(".drawn svg")) draw(svg, shown);
    said.hidden = shown.size === rows.length;
    said.textContent = "Filtered: " + shown.size + " of " + rows.length + " dots stand out; "
      + (whole ? "each front is over these alone." : "fronts are left out, since not every entry is drawn.");
  }

  window.bench = Object.assign(window.bench || {}, { filtered });
  addEventListener("bench-filtered", follow);
  follow();
})();
