// Sets the chosen theme before the first paint, so that a dark console never flashes white. A classic script, because modules wait.
(() => {
  try {
    const theme = localStorage.getItem("postern-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is forbidden: the system's preference decides.
  }
})();
