// Runs before the first paint, so that a chosen theme does not appear after the other one.
(() => {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage is blocked: the theme of the system is used.
  }
})();
