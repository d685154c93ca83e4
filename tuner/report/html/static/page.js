// Theme and print. The theme is the system's until the reader chooses another; the choice is kept where the
// browser lets a page keep something (a file opened from disk may not).
"use strict";
(() => {
  const root = document.documentElement;
  const kept = {
    get() { try { return localStorage.getItem("tuner-theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("tuner-theme", value); } catch { /* it lasts for this view */ } },
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const listeners = [];

  function announce() {
    for (const button of document.querySelectorAll(".theme")) {
      button.textContent = shown() === "dark" ? "Light theme" : "Dark theme";
    }
    for (const listener of listeners) listener(shown());
  }
  function choose(theme) { root.dataset.theme = theme; announce(); }

  const before = kept.get();
  if (before === "dark" || before === "light") root.dataset.theme = before;
  window.tuner = {
    theme: shown,
    onTheme(listener) { listeners.push(listener); },
  };
  dark.addEventListener("change", announce);

  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll(".theme")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        const theme = shown() === "dark" ? "light" : "dark";
        kept.set(theme);
        choose(theme);
      });
    }
    announce();
  });

  // Paper is white, and a fold cannot be opened on it.
  let restore = null;
  addEventListener("beforeprint", () => {
    const folded = [...document.querySelectorAll("details:not([open])")];
    const theme = root.dataset.theme;
    restore = () => {
      for (const each of folded) each.open = false;
      if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
      announce();
    };
    for (const each of folded) each.open = true;
    choose("light");
  });
  addEventListener("afterprint", () => { if (restore) restore(); restore = null; });
})();
