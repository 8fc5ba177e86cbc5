"use strict";
// Draws the charts of the page with Vega-Lite, in the colours of the theme, and connects the filters.
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = [];
  let chosen = null; // a theme that the reader chose, else that of the system

  function config(width) {
    const style = getComputedStyle(root);
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
    const axis = { labelColor: ink, titleColor: soft, gridColor: line, domainColor: line, tickColor: line,
      labelLimit: 260, titleFontWeight: "normal" };
    return {
      background: "transparent", view: { stroke: null }, axis,
      axisX: { labelOverlap: "parity", labelSeparation: 6 },
      legend: { labelColor: ink, titleColor: soft, titleFontWeight: "normal", labelLimit: 300, symbolLimit: 40,
        columns: Math.max(1, Math.min(6, Math.floor((width - 150) / 125))) },
      title: { color: ink }, text: { color: ink }, rule: { color: soft },
      font: "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif",
    };
  }

  async function draw() {
    root.dataset.drawn = "";
    root.dataset.inked = root.dataset.theme;
    for (const view of views.splice(0)) view.finalize();
    for (const [id, spec] of Object.entries(charts)) {
      const place = document.getElementById(id);
      const options = { ast: true, mode: "vega-lite", renderer: spec.usermeta.renderer, logLevel: 1,
        config: config(place.clientWidth || root.clientWidth),
        actions: { export: true, source: false, compiled: false, editor: false }, tooltip: { theme: theme() } };
      const made = await vegaEmbed(place, spec, options);
      made.id = id;
      views.push(made);
    }
    await filter();
    root.dataset.drawn = String(views.length);
  }

  const theme = () => chosen || (dark.matches ? "dark" : "light");
  function dress(name) { root.dataset.theme = name; }
  async function redress(name) { dress(name); await draw(); }

  // Filters: runs and phases, for every chart and every element that says what it belongs to.
  const runs = () => [...document.querySelectorAll("[data-filter-run]")].filter((box) => box.checked)
    .map((box) => box.value);
  async function filter() {
    const held = runs();
    const phase = document.getElementById("phase");
    for (const element of document.querySelectorAll("[data-run]")) {
      element.classList.toggle("hidden", !held.includes(element.dataset.run));
    }
    for (const { view } of views) {
      const state = view.getState({ signals: (name) => name === "runs" || name === "phase" }).signals;
      if ("runs" in state) view.signal("runs", held);
      if ("phase" in state && phase) view.signal("phase", phase.value);
      await view.runAsync();
    }
    window.dispatchEvent(new Event("resize")); // a chart that was hidden takes its width now
  }

  for (const box of document.querySelectorAll("[data-filter-run], #phase")) box.addEventListener("change", filter);
  document.getElementById("theme").addEventListener("click", () => {
    chosen = theme() === "dark" ? "light" : "dark";
    redress(chosen);
  });
  dark.addEventListener("change", () => { if (!chosen) redress(theme()); });
  // On paper all is light, and tables that were folded are open; manifests stay folded.
  const folded = [];
  window.addEventListener("beforeprint", () => {
    dress("light");
    folded.push(...document.querySelectorAll("main details:not([open]):not(.long):not(.vega-embed details)"));
    for (const each of folded) each.open = true;
  });
  window.addEventListener("afterprint", () => {
    dress(theme());
    for (const each of folded.splice(0)) each.open = false;
  });
  document.getElementById("print").addEventListener("click", async () => {
    document.body.classList.add("paper"); // drawn as wide as a sheet, so that letters keep their size
    await redress("light");
    window.print();
    document.body.classList.remove("paper");
    await redress(theme());
  });

  // Tables: a click on a heading sorts, a search box keeps the rows that hold its text.
  for (const table of document.querySelectorAll("table.sorts")) {
    [...table.tHead.rows[0].cells].forEach((cell, index) => cell.addEventListener("click", () => {
      const down = cell.dataset.down !== "1";
      cell.dataset.down = down ? "1" : "0";
      const key = (row) => row.cells[index].dataset.v ?? row.cells[index].textContent;
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        const plain = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
        return (plain ? x - y : x.localeCompare(y)) * (down ? 1 : -1);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    }));
  }
  for (const box of document.querySelectorAll("input[data-table]")) {
    box.addEventListener("input", () => {
      const text = box.value.toLowerCase();
      for (const row of document.getElementById(box.dataset.table).tBodies[0].rows) {
        row.classList.toggle("hidden", !row.textContent.toLowerCase().includes(text));
      }
    });
  }

  window.pimsim = { views, ready: redress(theme()) };
})();
