// finish_pages.py puts this text into every page's head: it runs before everything else, and even where no other file arrives.
(() => {
  // Where the reader forbids to store anything, to touch a store raises an error. Then one that lasts as long as the page stands in.
  const memory = () => {
    const held = new Map();
    return {
      get length() {
        return held.size;
      },
      key: (i) => [...held.keys()][i] ?? null,
      getItem: (name) => held.get(String(name)) ?? null,
      setItem: (name, value) => void held.set(String(name), String(value)),
      removeItem: (name) => void held.delete(String(name)),
      clear: () => held.clear(),
    };
  };
  for (const name of ["localStorage", "sessionStorage"]) {
    try {
      window[name].setItem("vae-probe", "");
      window[name].removeItem("vae-probe");
    } catch {
      Object.defineProperty(window, name, { value: memory(), configurable: true });
    }
  }

  // Put a widget's still picture, which is there for readers without JavaScript, and one sentence into its empty place.
  window.vaeStill = (place) => {
    if (place.querySelector(".vae-still")) return;
    let next = place.nextElementSibling;
    while (next && next.localName !== "noscript" && !next.classList.contains("widget-subarea")) next = next.nextElementSibling;
    const found = next?.localName === "noscript" ? next.textContent : "";
    const picture = new DOMParser().parseFromString(found, "text/html").querySelector("img");
    const box = document.createElement("div");
    box.className = "vae-still";
    const text = document.createElement("p");
    text.setAttribute("role", "status");
    text.textContent = picture
      ? "This widget could not be loaded; here is a still picture of it."
      : "This widget could not be loaded; try to load the page again.";
    box.append(text);
    if (picture) box.append(document.importNode(picture));
    place.append(box);
    place.classList.add("vae-stands");
  };

  // page.js brings the widgets and says that it runs; without it, nothing would come.
  window.addEventListener("load", () => {
    if (document.documentElement.dataset.page === "runs") return;
    for (const place of document.querySelectorAll(".widget-subarea")) window.vaeStill(place);
  });
})();
