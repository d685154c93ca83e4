// Draws charts (Vega-Lite specifications) in the colours of the page, anew for another theme and another width.
//
// A text "--name" in a specification is the colour of that name in the style sheet; see vega.py.
"use strict";
(() => {
  function coloured(value, style) {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() || value : value;
    if (Array.isArray(value)) return value.map((each) => coloured(each, style));
    if (value && typeof value === "object") {
      const made = {};
      // Rows are data, whatever texts they hold.
      for (const [name, each] of Object.entries(value)) made[name] = name === "values" ? each : coloured(each, style);
      return made;
    }
    return value;
  }

  let tip = null;
  function showTip(_handler, event, _item, value) {
    if (!tip) document.body.append(tip = tuner.element("div", { id: "tip", role: "tooltip" }));
    if (value === null || value === undefined || value === "") { tip.hidden = true; return; }
    tip.replaceChildren();
    const lines = typeof value === "object" ? Object.entries(value) : [["", String(value)]];
    for (const [name, each] of lines) {
      tip.append(tuner.element("div", {}, ...(name ? [tuner.element("b", {}, `${name}: `)] : []), String(each)));
    }
    tip.hidden = false;
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 16;
    const y = below + tip.offsetHeight < innerHeight ? below : event.clientY - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(4, x)}px`;
    tip.style.top = `${Math.max(4, y)}px`;
  }

  // chart.spec may be replaced (new rows): chart.draw(true) shows it.
  class Chart {
    constructor(host, spec) {
      this.host = host;
      this.spec = spec;
      this.drawn = null;
      this.view = null;
      this.width = 0;
    }
    async draw(force = false) {
      const width = Math.floor(this.host.clientWidth);
      if (!width || (width === this.width && !force)) return;
      this.width = width;
      const spec = coloured(this.spec, getComputedStyle(document.documentElement));
      spec.width = width;
      spec.config.font = getComputedStyle(document.body).fontFamily;
      spec.config.legend.columns = Math.max(1, Math.floor(width / 165));
      spec.config.axis.labelLimit = Math.max(84, Math.min(220, width * 0.3));
      const before = this.drawn;
      this.drawn = vegaEmbed(this.host, spec,
        { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, tooltip: showTip });
      if (before) (await before).finalize();
      this.view = (await this.drawn).view;
    }
  }

  Object.assign(window.tuner, { Chart });
  document.addEventListener("DOMContentLoaded", () => {
    const charts = new Map();
    const made = (figure) => {
      if (!charts.has(figure)) {
        const spec = JSON.parse(document.getElementById(figure.dataset.chart).textContent);
        charts.set(figure, figure.chart = new Chart(figure.querySelector("div"), spec));
      }
      return charts.get(figure);
    };
    // A page of forty layers has two hundred charts: each is drawn when it comes into sight.
    const sight = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) made(entry.target).draw();
    }, { rootMargin: "400px" });
    const figures = [...document.querySelectorAll("[data-chart]")];
    for (const figure of figures) sight.observe(figure);
    let wait = 0;
    addEventListener("resize", () => {
      clearTimeout(wait);
      wait = setTimeout(() => { for (const chart of charts.values()) chart.draw(); }, 150);
    });
    tuner.onTheme(() => { for (const chart of charts.values()) chart.draw(true); });
    addEventListener("beforeprint", () => { for (const figure of figures) made(figure).draw(true); });
  });
})();
