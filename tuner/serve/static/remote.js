// Rows of a table (table.js) that the server sorts, filters and cuts to pages: tuner.RemoteRows asks its JSON API.
"use strict";
(() => {
  const short = (text) => (text.length > 60 ? `${text.slice(0, 57)}...` : text);
  const shown = (value) => {
    if (Array.isArray(value)) return value.join(", ");
    if (value && typeof value === "object") {
      return Object.entries(value).map(([name, each]) => `${name}=${short(String(each))}`).join(" ") || "(none)";
    }
    return value;
  };

  class RemoteRows {
    constructor(columns, url) {
      this.columns = columns;
      this.url = url;
      this.question = "";
      this.keys = new Map(); // where each page begins: the key of the line before it
    }
    async rows({ words, facets, sort, descending, from, count }) {
      const asked = new URL(this.url, location.href), query = asked.searchParams;
      if (words.length) query.set("text", words.join(" "));
      for (const [name, value] of Object.entries(facets)) query.set(name, value);
      if (sort) query.set("sort", sort);
      if (descending) query.set("descending", "true");
      query.set("limit", count);
      const question = String(query);
      if (question !== this.question) this.keys.clear();
      this.question = question;
      if (from && this.keys.has(from)) query.set("after", this.keys.get(from));
      let answer;
      try {
        answer = await fetch(asked, { headers: { accept: "application/json" } });
      } catch {
        throw new Error("the server does not answer: is it still running?");
      }
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error || `the server answered ${answer.status}`);
      if (found.after) this.keys.set(from + count, found.after);
      return {
        total: found.total, matching: found.matching,
        rows: found.rows.map((row) => this.columns.map((column) => shown(row[column.name] ?? null))),
      };
    }
  }

  Object.assign(window.tuner, { RemoteRows });
  document.addEventListener("DOMContentLoaded", () => {
    for (const host of document.querySelectorAll("[data-remote]")) {
      const { columns, url, options } = JSON.parse(document.getElementById(host.dataset.remote).textContent);
      host.table = new tuner.Table(host, columns, new RemoteRows(columns, url), options);
    }
  });
})();
