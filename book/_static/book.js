// A page opened from the disk may not read other pages: search then lists titles without excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// A figure of many panels is not shrunk to a phone's width: it scrolls (book.css), and is as wide as
// its words need. Figures that were drawn for a phone are left alone.
function boxWideFigures() {
  for (const image of document.querySelectorAll("article :is(.cell_output, section, p) > img")) {
    if (image.naturalWidth <= 620 || image.classList.contains("fits-phone")) continue;
    const box = document.createElement("div");
    box.className = "wide-figure";
    box.style.setProperty("--wide", `${Math.max(620, Math.round(0.66 * image.naturalWidth))}px`);
    image.replaceWith(box);
    box.append(image);
  }
}

// A table of words is read by row: on a phone its rows are lists, each cell under the name of its
// column (book.css). With one name a column, three columns and more, and few numbers.
function stackTables() {
  for (const box of document.querySelectorAll("article .pst-scrollable-table-container")) {
    const table = box.querySelector("table"), names = [...table.querySelectorAll("thead th")];
    const cells = [...table.querySelectorAll("tbody :is(td, th)")];
    const others = cells.filter(cell => cell.cellIndex > 0).map(cell => cell.textContent.trim());
    const wordy = others.filter(text => text.length > 30 || !/\d/.test(text)).length;
    const letters = others.reduce((sum, text) => sum + text.length, 0);
    const plain = table.tHead?.rows.length === 1 && !table.querySelector("[colspan], [rowspan]");
    const short = letters < 10 * others.length; // fits a phone, or is a table of signs
    if (!plain || names.length < 3 || short || wordy < 0.6 * others.length) continue;
    if (box.scrollWidth > box.clientWidth) box.classList.add("long-names"); // on a desktop
    box.classList.replace("wide-table", "stacked-table") || box.classList.add("stacked-table");
    // Laid out as blocks, they would be no table to a screen reader.
    const roles = { table: "table", "thead, tbody": "rowgroup", tr: "row", "thead th": "columnheader" };
    table.role = roles.table;
    for (const [parts, role] of Object.entries(roles).slice(1))
      for (const part of table.querySelectorAll(parts)) part.role = role;
    for (const cell of cells) {
      cell.role = "cell";
      cell.dataset.column = names[cell.cellIndex].textContent.trim();
    }
  }
}

// A table that does not fit a phone keeps its first column in view, and its lines short (book.css).
function widenTables() {
  for (const box of document.querySelectorAll("article .pst-scrollable-table-container"))
    if (box.scrollWidth > box.clientWidth && !box.classList.contains("stacked-table"))
      box.classList.add("wide-table");
}

// What scrolls can be reached and scrolled by keyboard, and fades at the right while there is more.
function makeScrollable() {
  const boxes =
    ".pst-scrollable-table-container, .wide-figure, .cell_output .output, " +
    ".cell_output .output > div, pre, div.math mjx-container";
  for (const box of document.querySelectorAll(`article :is(${boxes})`)) {
    box.classList.remove("more");
    if (!["auto", "scroll"].includes(getComputedStyle(box).overflowX)) continue;
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    if (!box.dataset.watched) box.addEventListener("scroll", () => showMore(box));
    box.dataset.watched = "yes";
    showMore(box);
  }
}

function showMore(box) {
  box.classList.toggle("more", box.scrollWidth - box.clientWidth - Math.ceil(box.scrollLeft) > 2);
}

function fit() {
  widenTables();
  makeScrollable();
}

// A comma or period stays on the line of the formula before it.
function holdPunctuation() {
  for (const formula of document.querySelectorAll("article span.math")) {
    const [mark] = formula.nextSibling?.nodeValue?.match(/^[.,;:!?)\]]+/) ?? [];
    if (!mark) continue;
    const box = document.createElement("span");
    box.className = "held";
    formula.nextSibling.nodeValue = formula.nextSibling.nodeValue.slice(mark.length);
    formula.replaceWith(box);
    box.append(formula, mark);
  }
}

addEventListener("load", () => {
  boxWideFigures();
  fit();
  globalThis.MathJax?.startup?.promise.then(fit); // formulas have a width only now
});
addEventListener("resize", fit);
addEventListener("toggle", fit, true); // what was folded has a width only now
addEventListener("DOMContentLoaded", () => {
  holdPunctuation();
  stackTables();
  // Its entries are no list items to a screen reader, so it is no list.
  for (const list of document.querySelectorAll(".citation-list")) list.removeAttribute("role");
});
