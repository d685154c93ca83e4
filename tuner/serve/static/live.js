// Sweeps as they run: events of the server (/api/events) into cards, a chart and the rows of the latest trials.
// A page that nobody sees listens to nothing: a browser opens six connections to a server, for all its pages.
"use strict";
(() => {
  const ROWS = 30;
  const { element, format } = tuner;
  const sweeps = new Map(); // by number: {row, card, steps, first}
  let source = null, chart = null, wait = 0;
  let newest = null; // the trial that the page was told of last; null: none since it was made

  const only = () => document.querySelector("[data-live]")?.dataset.live || "";
  const mine = (sweep) => !only() || Number(only()) === sweep;

  function state(text, on) {
    const place = document.querySelector(".state");
    if (!place) return;
    place.textContent = text;
    place.className = `state ${on ? "on" : "off"}`;
  }

  function card(row) {
    const budget = row.budget_trials, failed = row.trials - row.right;
    const lines = [
      element("h3", {}, element("a", { href: `/sweeps/${row.sweep}` }, `s${row.sweep} ${row.kernel}`)),
      element("p", {}, row.workload),
      element("p", { class: "muted" }, `${row.device}, ${row.threads} thread${row.threads === 1 ? "" : "s"}, ${row.cache} cache, ${row.searcher}`),
      element("p", {}, element("b", { class: "trials" }, format(row.trials, "count")),
        budget ? ` of ${format(budget, "count")} trials` : " trials",
        failed ? `, ${format(failed, "count")} not right` : ""),
    ];
    if (budget) {
      lines.push(element("progress", { max: budget, value: Math.min(row.trials, budget),
        "aria-label": "share of its trials" }));
    }
    const worth = row.evidence.length && !row.evidence.includes("measured") ? ` (${row.evidence.join(", ")})` : "";
    lines.push(element("p", {}, "best so far ", element("b", {}, format(row.best_s, "time")), worth));
    if (row.state !== "running") lines.push(element("p", { class: "label" }, row.state));
    return element("article", { class: "card", "data-sweep": row.sweep }, ...lines);
  }

  function onSweep(row) {
    if (!mine(row.sweep)) return;
    const known = sweeps.get(row.sweep) || { steps: [], first: null };
    if (row.best_s !== null) {
      if (known.first === null) known.first = row.best_s;
      known.steps.push({ sweep: `s${row.sweep} ${row.kernel}`, number: row.trials, ratio: row.best_s / known.first });
      if (known.steps.length > 400) known.steps = known.steps.filter((_, i) => i % 2 === 0 || i > 390);
    }
    const made = card(row);
    if (known.card) known.card.replaceWith(made); else document.getElementById("running")?.prepend(made);
    sweeps.set(row.sweep, { ...known, row, card: made });
    const none = document.getElementById("none");
    if (none) none.hidden = sweeps.size > 0;
    draw();
  }

  function draw() {
    const figure = document.getElementById("live-figure");
    if (!figure) return;
    const values = [...sweeps.values()].flatMap((each) => each.steps);
    figure.hidden = values.length === 0;
    clearTimeout(wait);
    wait = setTimeout(() => {
      const spec = JSON.parse(document.getElementById("live").textContent);
      spec.data.values = values;
      if (!chart) chart = new tuner.Chart(figure.querySelector("div"), spec);
      chart.spec = spec;
      if (values.length) chart.draw(true);
    }, 300);
  }

  function onTrial(row) {
    newest = row.trial;
    if (!mine(row.sweep)) return;
    const body = document.getElementById("latest");
    if (!body || body.querySelector(`[data-trial="${row.trial}"]`)) return;
    const config = Object.entries(row.config).map(([name, value]) => `${name}=${String(value).slice(0, 40)}`).join(" ");
    const cells = [
      element("td", {}, element("a", { href: `/trials/${row.trial}` }, `t${row.trial}`)),
      element("td", {}, element("a", { href: `/sweeps/${row.sweep}` }, `s${row.sweep}`)),
      element("td", {}, row.kernel || "–"),
      element("td", {}, row.status),
      element("td", { class: "n" }, format(row.time_s, "time"),
        row.time_s !== null && row.evidence !== "measured" ? ` (${row.evidence})` : ""),
      element("td", { class: "wide" }, row.error ? row.error.split("\n")[0] : config),
    ];
    for (const old of body.querySelectorAll("tr.new")) old.classList.remove("new");
    body.prepend(element("tr", { "data-trial": row.trial, class: "new" }, ...cells));
    while (body.rows.length > ROWS) body.deleteRow(-1);
    document.getElementById("latest-table").hidden = false;
  }

  function listen() {
    if (source || document.hidden) return;
    // From the trial on that the page knows: what is stored before the server looks is news too.
    const after = newest ?? document.querySelector("[data-newest]")?.dataset.newest;
    source = new EventSource(`/api/events${after ? `?after=${after}` : ""}`);
    const on = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));
    source.addEventListener("error", () => state("no connection to the server: trying again", false));
    // The page is live from the server's first look on, not from the open connection.
    on("running", ({ sweeps: rows }) => { state("live", true); rows.forEach(onSweep); });
    on("sweep", onSweep);
    on("trial", onTrial);
    on("trouble", ({ error }) => state(error || "live", !error));
  }
  function leave() {
    if (source) source.close();
    source = null;
  }

  document.addEventListener("DOMContentLoaded", () => {
    listen();
    document.addEventListener("visibilitychange", () => (document.hidden ? leave() : listen()));
    addEventListener("pagehide", leave);
    addEventListener("pageshow", listen);
    tuner.onTheme(() => { if (chart) chart.draw(true); });
  });
})();
