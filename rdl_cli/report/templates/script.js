"use strict";
(() => {
  const stimuli = JSON.parse(document.getElementById("stimuli").textContent);
  const tip = document.getElementById("tip");
  const SVG = "http://www.w3.org/2000/svg";

  function showTip(text, thumbs, x, y) {
    tip.replaceChildren();
    if (thumbs.length) {
      const box = document.createElement("div");
      box.className = "thumbs";
      for (const id of thumbs) {
        const svg = document.createElementNS(SVG, "svg");
        const use = document.createElementNS(SVG, "use");
        use.setAttribute("href", "#t" + id);
        use.setAttribute("width", "64");
        use.setAttribute("height", "64");
        svg.append(use);
        box.append(svg);
      }
      tip.append(box);
    }
    tip.append(text);
    tip.hidden = false;
    const size = tip.getBoundingClientRect();
    const left = Math.min(x + 14, innerWidth - size.width - 6);
    const top = y + 18 + size.height > innerHeight ? y - size.height - 12 : y + 18;
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, top) + "px";
  }
  function hideTip() {
    tip.hidden = true;
    document.querySelectorAll(".on").forEach((mark) => mark.classList.remove("on"));
    document.querySelectorAll(".cursor").forEach((cursor) => cursor.setAttribute("width", 0));
  }
  function showMark(mark, x, y) {
    hideTip();
    const box = mark.getBoundingClientRect();
    mark.classList.add("on");
    const thumbs = mark.dataset.thumbs ? [mark.dataset.thumbs] : [];
    showTip(mark.dataset.tip, thumbs, x ?? box.right, y ?? box.top);
  }

  document.addEventListener("pointermove", (event) => {
    const rdm = event.target.closest("svg.rdm");
    const mark = event.target.closest("[data-tip]");
    if (rdm) {
      const cell = cellAt(rdm, event);
      if (cell) return showCell(rdm, cell, event.clientX, event.clientY);
    }
    if (mark) return showMark(mark, event.clientX, event.clientY);
    if (!document.activeElement.closest("svg.rdm, svg.plot, [data-tip]")) hideTip();
  });
  document.addEventListener("focusin", (event) => {
    const cell = event.target.closest("td[data-tip], th[data-tip]");
    if (cell) showMark(cell);
  });
  document.addEventListener("focusout", hideTip);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
  });

  // charts: arrow keys walk along the marks
  for (const plot of document.querySelectorAll("svg.plot")) {
    let at = -1;
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const marks = plot.querySelectorAll("[data-tip]");
      if (!step || !marks.length) return;
      event.preventDefault();
      at = (at + step + marks.length) % marks.length;
      showMark(marks[at]);
    });
  }

  // RDMs: values are 16-bit steps between low and high, condensed row by row
  function readValues(rdm) {
    if (!rdm.values) {
      const bytes = Uint8Array.from(atob(rdm.dataset.values), (c) => c.charCodeAt(0));
      rdm.values = new DataView(bytes.buffer);
    }
    return rdm.values;
  }
  function distance(rdm, i, j) {
    if (i === j) return "0 (the same stimulus)";
    const n = +rdm.dataset.n, a = Math.min(i, j), b = Math.max(i, j);
    const index = (a * (2 * n - a - 1)) / 2 + b - a - 1;
    const step = readValues(rdm).getUint16(2 * index, true);
    if (step === 65535) return "not measured";
    const low = +rdm.dataset.low, high = +rdm.dataset.high;
    return (low + (step / 65534) * (high - low)).toPrecision(4);
  }
  function cellAt(rdm, event) {
    const box = rdm.getBoundingClientRect();
    const scale = rdm.viewBox.baseVal.width / box.width;
    const n = +rdm.dataset.n, margin = +rdm.dataset.margin, side = +rdm.dataset.side;
    const column = Math.floor((((event.clientX - box.left) * scale - margin) / side) * n);
    const row = Math.floor((((event.clientY - box.top) * scale - margin) / side) * n);
    return Math.min(row, column) >= 0 && Math.max(row, column) < n ? [row, column] : null;
  }
  function showCell(rdm, [row, column], x, y) {
    hideTip();
    const set = stimuli[+rdm.dataset.set], n = +rdm.dataset.n;
    const margin = +rdm.dataset.margin, side = +rdm.dataset.side;
    const cursor = rdm.querySelector(".cursor");
    cursor.setAttribute("x", margin + (column / n) * side);
    cursor.setAttribute("y", margin + (row / n) * side);
    cursor.setAttribute("width", side / n);
    cursor.setAttribute("height", side / n);
    const name = (k) => set.names[k] + (set.classes.length ? ` (${set.classes[k]})` : "");
    const text = `${name(row)} × ${name(column)}: ${distance(rdm, row, column)}`;
    const thumbs = set.images ? [row, column].map((k) => `${rdm.dataset.set}-${k}`) : [];
    showTip(text, thumbs, x, y);
  }
  for (const rdm of document.querySelectorAll("svg.rdm")) {
    let cell = [0, 1];
    rdm.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      const n = +rdm.dataset.n;
      cell = cell.map((k, axis) => Math.min(n - 1, Math.max(0, k + step[axis])));
      const box = rdm.getBoundingClientRect();
      showCell(rdm, cell, box.right, box.top);
    });
  }

  // tables: a header sorts by its column, a second time in the other direction
  for (const table of document.querySelectorAll("table.sortable")) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      header.querySelector("button")?.addEventListener("click", () => {
        const ascending = header.getAttribute("aria-sort") !== "ascending";
        const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
        const rows = [...table.tBodies[0].rows];
        const numeric = rows.every((row) => key(row) === "" || !Number.isNaN(Number(key(row))));
        rows.sort((one, other) => {
          const a = key(one), b = key(other);
          if ((a === "") !== (b === "")) return a === "" ? 1 : -1;
          const order = numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });
          return ascending ? order : -order;
        });
        headers.forEach((other) => other.setAttribute("aria-sort", "none"));
        header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        table.tBodies[0].append(...rows);
      });
    });
  }

  // light and dark: the system's choice, until the button is pressed
  const button = document.getElementById("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(isDark()));
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  systemDark.addEventListener("change", label);
  label();
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => (d.open = true)));
})();
