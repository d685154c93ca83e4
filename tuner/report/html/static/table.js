// A table that sorts, filters and draws its rows in slices, so that ten thousand of them weigh like twenty-five.
//
// tuner.Table(host, columns, source, options) draws; the source answers
//   source.rows({words, facets, sort, descending, from, count}) -> {total, matching, rows}   (or a promise)
// and may keep its rows anywhere: tuner.LocalRows has them in the page; a server's answer does as well.
//
// A column: {name, label, kind, wide?, facet?: [values], href?, words?, unsorted?, unit?,
// prefix?}. Kinds: text, number, count, quantity (in its unit), time
// (seconds), share (of 1), bytes, date (ISO text). A missing value is null and sorts last either way.
"use strict";
(() => {
  const PAGE = 25;

  function significant(value) {
    if (value === 0 || !Number.isFinite(value)) return String(value);
    const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
    return value.toFixed(Math.min(decimals, 20));
  }
  function scaled(value, steps, unit) {
    for (const [size, name] of steps) {
      if (Math.abs(value) >= size) return `${significant(value / size)} ${name}${unit}`;
    }
    const [size, name] = steps[steps.length - 1];
    return `${significant(value / size)} ${name}${unit}`;
  }
  const TIMES = [[1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
  const DECIMAL = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
  const BINARY = [[2 ** 30, "Gi"], [2 ** 20, "Mi"], [2 ** 10, "Ki"], [1, ""]];
  const FORMATS = {
    text: String,
    number: significant,
    count: (value) => value.toLocaleString("en"),
    time: (value) => scaled(value, TIMES, "s"),
    bytes: (value) => scaled(value, BINARY, "B"),
    share: (value) => `${value >= 0.095 ? (100 * value).toFixed(0) : (100 * value).toFixed(1)}%`,
    quantity: (value, unit) => scaled(value, DECIMAL, unit || ""),
    date: (value) => String(value).slice(0, 16).replace("T", " "),
  };
  function format(value, kind, unit) {
    return value === null || value === undefined ? "–" : (FORMATS[kind] || String)(value, unit);
  }
  const isNumber = (kind) => ["number", "count", "quantity", "time", "bytes", "share"].includes(kind);

  // Rows in the page: {columns: [...], data: [column, ...]} with a column either an array of values, or
  // {dictionary: [...], codes: [...]} where texts recur.
  class LocalRows {
    constructor(table) {
      this.columns = table.columns;
      this.data = table.data.map((column) =>
        Array.isArray(column) ? column : column.codes.map((c) => (c < 0 ? null : column.dictionary[c])));
      this.total = this.data.length ? this.data[0].length : 0;
      this.texts = null;
    }
    text(row) {
      if (!this.texts) {
        const parts = this.columns.map((column, i) => [this.data[i], column.kind]);
        this.texts = Array.from({ length: this.total }, (_, r) =>
          parts.map(([values, kind]) => format(values[r], kind)).join("\n").toLowerCase());
      }
      return this.texts[row];
    }
    rows({ words, facets, sort, descending, from, count }) {
      let order = Array.from({ length: this.total }, (_, i) => i);
      for (const [name, value] of Object.entries(facets)) {
        const values = this.data[this.columns.findIndex((column) => column.name === name)];
        order = order.filter((row) => String(values[row]) === value);
      }
      for (const word of words) order = order.filter((row) => this.text(row).includes(word));
      const at = this.columns.findIndex((column) => column.name === sort);
      if (at >= 0) {
        const values = this.data[at], sign = descending ? -1 : 1;
        const compare = isNumber(this.columns[at].kind)
          ? (a, b) => a - b
          : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
        order.sort((a, b) => {
          const x = values[a], y = values[b];
          if (x === null || y === null) return (x === null) - (y === null) || a - b;
          return sign * compare(x, y) || a - b;
        });
      }
      return {
        total: this.total, matching: order.length,
        rows: order.slice(from, from + count).map((row) => this.data.map((values) => values[row])),
      };
    }
  }

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== null) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  const asksFor = ({ words, facets }) => words.length > 0 || Object.keys(facets).length > 0;

  class Table {
    constructor(host, columns, source, options = {}) {
      this.columns = columns;
      this.source = source;
      this.page = options.page || PAGE;
      this.state = {
        words: [], facets: {}, sort: options.sort || null, descending: Boolean(options.descending), from: 0,
      };
      this.asked = 0;
      this.build(host, options.label || "rows", options.find !== false);
      this.refresh();
    }
    build(host, label, finds) {
      const find = element("input", { type: "search", placeholder: `Filter ${label}`, "aria-label": `Filter ${label}` });
      let wait = 0;
      find.addEventListener("input", () => {
        clearTimeout(wait);
        wait = setTimeout(() => {
          this.state.words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
          this.turn(0);
        }, 120);
      });
      const tools = element("div", { class: "find" }, ...(finds ? [find] : []));
      for (const column of this.columns.filter((each) => each.facet && each.facet.length > 1)) {
        const choice = element("select", { "aria-label": column.label, "data-column": column.name },
          element("option", { value: "" }, `${column.label}: all`));
        for (const value of column.facet) choice.append(element("option", { value: `=${value}` }, String(value)));
        choice.addEventListener("change", () => {
          if (choice.value) this.state.facets[column.name] = choice.value.slice(1);
          else delete this.state.facets[column.name];
          this.turn(0);
        });
        tools.append(choice);
      }
      this.heads = this.columns.map((column) => {
        const button = element(column.unsorted ? "span" : "button", column.unsorted ? {} : { type: "button" }, column.label);
        const head = element("th", { scope: "col", class: isNumber(column.kind) ? "n" : null, title: column.words }, button);
        if (!column.unsorted) button.addEventListener("click", () => this.sortBy(column.name));
        return head;
      });
      this.body = element("tbody");
      const table = element("table", { class: "rows" },
        element("thead", {}, element("tr", {}, ...this.heads)), this.body);
      this.back = element("button", { type: "button", "aria-label": "earlier rows" }, "‹");
      this.on = element("button", { type: "button", "aria-label": "later rows" }, "›");
      this.back.addEventListener("click", () => this.turn(this.state.from - this.page));
      this.on.addEventListener("click", () => this.turn(this.state.from + this.page));
      this.where = element("span", { role: "status" });
      host.replaceChildren(tools, element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table),
        element("div", { class: "pages" }, this.back, this.on, this.where));
    }
    sortBy(name) {
      const same = this.state.sort === name;
      this.state.descending = same && !this.state.descending;
      this.state.sort = name;
      this.turn(0);
    }
    turn(from) {
      this.state.from = Math.max(0, from);
      this.refresh();
    }
    async refresh() {
      const asked = ++this.asked;
      let found;
      try {
        found = await this.source.rows({ ...this.state, count: this.page });
      } catch (error) {
        if (asked === this.asked) this.where.textContent = error.message;
        return;
      }
      if (asked !== this.asked) return; // a later question was answered first
      this.columns.forEach((column, i) => {
        const order = this.state.descending ? "descending" : "ascending";
        this.heads[i].setAttribute("aria-sort", column.name === this.state.sort ? order : "none");
      });
      this.body.replaceChildren(...found.rows.map((row) => this.row(row)));
      const { from } = this.state, last = from + found.rows.length;
      const of = found.matching === found.total ? "" : ` (of ${found.total.toLocaleString("en")})`;
      this.where.textContent = found.matching
        ? `${(from + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${found.matching.toLocaleString("en")}${of}`
        : asksFor(this.state) ? `nothing matches${of}` : "nothing yet";
      this.back.disabled = from === 0;
      this.on.disabled = last >= found.matching;
    }
    row(values) {
      return element("tr", {}, ...this.columns.map((column, i) => {
        const text = column.prefix && values[i] !== null ? column.prefix + values[i] : format(values[i], column.kind, column.unit);
        const css = isNumber(column.kind) ? "n" : column.wide ? "wide" : column.kind === "date" ? "date" : null;
        const shown = column.href && values[i] !== null
          ? element("a", { href: column.href + encodeURIComponent(values[i]) }, text) : text;
        return element("td", { class: css }, shown);
      }));
    }
  }

  Object.assign(window.tuner, { Table, LocalRows, format, element });
  document.addEventListener("DOMContentLoaded", () => {
    for (const host of document.querySelectorAll("[data-table]")) {
      const table = JSON.parse(document.getElementById(host.dataset.table).textContent);
      host.table = new Table(host, table.columns, new LocalRows(table), table.options);
    }
  });
})();
