"use strict";

// Tables: a click on a head sorts by `data-value` where a cell has one, else by its text; what is missing comes last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    if (head.classList.contains("buttons")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const down = before === null ? numbers && !["rank", "group"].includes(button.textContent) : before === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...table.tBodies[0].rows].map((row) => {
        const cell = row.cells[place];
        const text = cell.dataset.value ?? cell.textContent;
        return { row, key: numbers ? (text === "" ? NaN : Number(text)) : text };
      });
      const absent = ({ key }) => key === "" || Number.isNaN(key);
      keyed.sort((a, b) => {
        if (absent(a) || absent(b)) return absent(a) - absent(b);
        const order = numbers ? a.key - b.key : a.key.localeCompare(b.key, undefined, { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...keyed.map(({ row }) => row));
    });
  });
}

// Filters of the table of variants.
const filters = document.querySelector(".filters");
if (filters) {
  const [text, kind, status, count] = ["text", "kind", "status", "count"].map((name) =>
    document.getElementById(`filter-${name}`));
  const rows = [...document.querySelector("#variants").tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]);
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [row, said] of rows) {
      const fits = words.every((word) => said.includes(word))
        && (!kind.value || row.dataset.kind === kind.value)
        && (!status.value || row.dataset.status === status.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  [text, kind, status].forEach((field) => field.addEventListener("input", filter));
  filters.hidden = false;
  filter();
}

// Commands to the clipboard; a file opened from disk may lack the newer way to it.
const copied = async (line) => {
  try {
    await navigator.clipboard.writeText(line);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = line;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
};
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  button.textContent = (await copied(button.dataset.copy)) ? "copied" : "not copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
});

// Pictures, one after the other, so that the page can be read meanwhile.
const draw = async () => {
  const held = document.getElementById("specs");
  const specs = held ? JSON.parse(held.textContent) : {};
  for (const place of document.querySelectorAll(".chart")) {
    try {
      await vegaEmbed(place, specs[place.dataset.name], {
        mode: "vega-lite", renderer: "svg", actions: false, downloadFileName: place.dataset.name,
      });
    } catch (error) {
      place.textContent = `This picture could not be drawn: ${error.message}`;
      console.error(error);
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
  document.documentElement.dataset.drawn = "true";
};
draw();

// On paper every part of the page is open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open]):not(.diff)")];
  closed.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
