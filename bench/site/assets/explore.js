/* Makes the plot of a page live, once somebody asks for it: only then is Vega loaded. The plot's
   colours are the page's variables, so that it follows light and dark as the page does. */
"use strict";
(function () {
  const plots = {};
  let waiting = null; // whoever asked for the plot that is being loaded
  window.bench = Object.assign(window.bench || {}, {
    plot: function (sizes) { if (waiting) plots[waiting] = sizes; },
  });

  function load(address) {
    return new Promise(function (done, failed) {
      const script = document.createElement("script");
      script.src = address;
      script.onload = done;
      script.onerror = function () { failed(new Error(address + " can't be loaded")); };
      document.head.append(script);
    });
  }

  async function sizesOf(button) {
    const address = button.dataset.plot;
    if (!window.vegaEmbed) await load(button.dataset.vega);
    if (!plots[address]) {
      waiting = address;
      await load(address);
    }
    return plots[address];
  }

  async function draw(figure, button) {
    const sizes = await sizesOf(button);
    const live = document.createElement("div");
    live.className = "live";
    live.tabIndex = 0; // it is scrolled sideways where it has no room
    live.setAttribute("role", "region");
    live.setAttribute("aria-label", figure.querySelector("svg").getAttribute("aria-label"));
    const inside = document.createElement("div");
    live.append(inside);
    figure.querySelector(".drawn").after(live);
    const size = window.innerWidth > 928 ? sizes.wide : sizes.narrow;
    await window.vegaEmbed(inside, window.bench.filtered ? window.bench.filtered(size) : size, {
      mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false,
      tooltip: { disableDefaultStyle: true }, loader: { target: "_self" },
    });
    figure.classList.add("is-live");
  }

  function drop(figure) {
    for (const live of figure.querySelectorAll(".live")) live.remove();
    figure.classList.remove("is-live");
  }

  for (const button of document.querySelectorAll("button.explore")) {
    const figure = button.closest("figure");
    const said = figure.querySelector("output");
    let later = 0;
    button.hidden = false;
    addEventListener("bench-filtered", function () { // once for all letters of a word
      clearTimeout(later);
      later = setTimeout(async function () {
        if (!figure.classList.contains("is-live")) return;
        drop(figure);
        await draw(figure, button);
      }, 150);
    });
    button.addEventListener("click", async function () {
      const was = figure.classList.contains("is-live");
      drop(figure);
      button.disabled = true;
      said.textContent = was ? "" : "loading";
      try {
        if (!was) await draw(figure, button);
        said.textContent = was ? "" : "Drag moves, the wheel zooms, a double click goes back.";
      } catch (error) {
        drop(figure);
        said.textContent = String(error.message || error);
      }
      const live = figure.classList.contains("is-live");
      button.disabled = false;
      button.textContent = live ? "Plain" : "Explore";
      button.setAttribute("aria-pressed", String(live));
    });
  }
})();
