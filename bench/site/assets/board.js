/* A board's tables: sorting, filters that the address keeps, rows picked to be compared.
   All state is in the fragment of the address, since pages are opened from a disk as well. */
"use strict";
(function () {
  const FILTERS = ["track", "hardware", "access", "level", "since", "until", "text"];
  const MOST = 4; // runs that are compared at a time
  const form = document.querySelector(".filters");
  const cells = Array.from(document.querySelectorAll("section.cell"));

  /* --- the address */

  function read() {
    const text = location.hash.slice(1);
    return new URLSearchParams(text.includes("=") ? text : "");
  }

  function write(state, typing) {
    for (const [name, value] of Array.from(state)) if (!value) state.delete(name);
    const text = state.toString();
    if (text === read().toString()) return;
    const address = text ? "#" + text : "#main";
    if (typing) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
  }

  /* --- filters */

  function wanted(state) {
    const text = (state.get("text") || "").toLowerCase();
    const since = state.get("since") || "", until = state.get("until") || "9999";
    return {
      cell: (data) => ["track", "hardware", "access", "level"].every((name) => !state.get(name) || state.get(name) === data[name]),
      row: (row) => row.dataset.date >= since && row.dataset.date.slice(0, 10) <= until && (!text || words(row).includes(text)),
    };
  }

  function words(row) {
    const parts = Array.from(row.querySelector(".entry").childNodes, (part) => part.textContent);
    return parts.join(" ").toLowerCase().replace(/\s+/g, " ").trim();
  }

  function filter(state) {
    const takes = wanted(form ? state : new URLSearchParams()); // what nobody can take back hides nothing
    let shown = 0, all = 0;
    for (const cell of cells) {
      const here = takes.cell(cell.dataset);
      let any = false;
      for (const body of cell.querySelectorAll("tbody")) {
        let some = false;
        for (const row of body.querySelectorAll("tr[data-run]")) {
          const visible = here && takes.row(row);
          row.hidden = !visible;
          all += 1;
          shown += visible;
          some = some || visible;
        }
        body.hidden = !some;
        any = any || some;
      }
      cell.hidden = !any;
    }
    if (form) form.querySelector("output").textContent = shown === all ? count(all) : shown + " of " + count(all);
    dispatchEvent(new Event("bench-filtered"));
  }

  function count(n) {
    return n + (n === 1 ? " entry" : " entries");
  }

  function fill(state) {
    for (const name of FILTERS) {
      const field = form && form.elements[name];
      if (field) field.value = state.get(name) || "";
    }
  }

  /* --- sorting: within each tier, since tiers are tables of their own */

  const UNITS = { d: 86400, h: 3600, min: 60, s: 1 };

  function value(row, key) {
    const place = row.querySelector("." + key);
    if (!place) return null;
    const text = place.firstChild ? place.firstChild.textContent.trim() : "";
    if (key === "entry" || key === "level") return place.textContent.trim().replace(/\s+/g, " ").toLowerCase();
    const parts = Array.from(text.matchAll(/([\d.,]+)\s*(min|[dhs])\b/g));
    if (key === "duration" && parts.length) return parts.reduce((sum, p) => sum + number(p[1]) * UNITS[p[2]], 0);
    const found = text.match(/−?[\d.,]+/);
    return found ? number(found[0]) : null;
  }

  function number(text) {
    return parseFloat(text.replace(/,/g, "").replace("−", "-"));
  }

  function sort(state) {
    const asked = state.get("sort") || "";
    const falling = asked.startsWith("-"), name = asked.replace(/^-/, "");
    const key = /^[a-z_]+$/.test(name) ? name : ""; // what an address says may be anything
    for (const table of document.querySelectorAll("table.board")) {
      for (const head of table.tHead.rows[0].cells) {
        if (key && head.classList.contains(key)) head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      }
      for (const body of table.tBodies) order(body, key, falling);
    }
  }

  function order(body, key, falling) {
    const rows = Array.from(body.querySelectorAll("tr[data-run]"));
    rows.forEach((row, i) => { if (!row.dataset.at) row.dataset.at = i + 1; });
    const valued = rows.map((row) => ({ row, at: Number(row.dataset.at), value: key ? value(row, key) : null }));
    valued.sort((a, b) => compared(a, b, falling) || a.at - b.at);
    const end = body.querySelector("tr.more");
    for (const one of valued) body.insertBefore(one.row, end);
  }

  function compared(a, b, falling) {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
    const less = a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
    return falling ? -less : less;
  }

  function sortable(head) {
    const key = Array.from(head.classList).find((c) => c !== "n" && c !== "wide-only");
    if (!key || key === "strip") return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const state = read(), now = state.get("sort") || "";
      const first = head.dataset.better === "higher" ? "-" + key : key;
      const second = first === key ? "-" + key : key;
      if (key === "rank") state.delete("sort"); // the order that the page came in
      else state.set("sort", now === first ? second : first);
      write(state);
      show();
    });
  }

  /* --- what is to be compared */

  const picked = new Map();
  const bar = document.createElement("p");
  bar.className = "picked screen-only";
  bar.setAttribute("role", "status");
  bar.hidden = true;

  function pickable(row) {
    if (!row.dataset.run) return;
    const box = document.createElement("input");
    box.type = "checkbox";
    box.className = "pick screen-only";
    box.setAttribute("aria-label", "Compare " + words(row));
    row.querySelector("td.rank").prepend(box);
    box.addEventListener("change", () => {
      if (box.checked) picked.set(row.dataset.run, box);
      else picked.delete(row.dataset.run);
      picking();
    });
  }

  function picking() {
    const full = picked.size >= MOST;
    for (const box of document.querySelectorAll(".pick")) box.disabled = full && !box.checked;
    bar.hidden = picked.size === 0;
    bar.replaceChildren();
    if (picked.size < 2) {
      bar.append("Pick another entry to compare with.");
    } else {
      const link = document.createElement("a");
      link.href = document.body.dataset.compare + "#" + Array.from(picked.keys()).join(",");
      link.textContent = "Compare " + picked.size + " runs";
      bar.append(link, full ? " (four at most)" : "");
    }
    const clear = document.createElement("button");
    clear.type = "button";
    clear.textContent = "clear";
    clear.addEventListener("click", () => {
      for (const box of picked.values()) box.checked = false;
      picked.clear();
      picking();
    });
    bar.append(" ", clear);
  }

  /* --- all together */

  function show() {
    const state = read();
    fill(state);
    filter(state);
    sort(state);
  }

  function asked(typing) {
    const state = read();
    for (const name of FILTERS) {
      const field = form.elements[name];
      if (field && field.value) state.set(name, field.value);
      else state.delete(name);
    }
    write(state, typing);
    filter(state);
  }

  for (const head of document.querySelectorAll("table.board thead th")) sortable(head);
  for (const row of document.querySelectorAll("table.board tr[data-run]")) pickable(row);
  document.querySelector("main").append(bar);
  if (form) {
    form.hidden = false;
    form.addEventListener("input", (event) => asked(event.target.type === "search"));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => {
      const state = read();
      for (const name of FILTERS) state.delete(name);
      write(state);
      setTimeout(show);
    });
  }
  addEventListener("hashchange", show);
  addEventListener("popstate", show);
  show();
})();
