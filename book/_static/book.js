// A page opened from the disk may not read other pages: search then lists titles without excerpts.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// A figure of many panels is not shrunk to a phone's width: it scrolls (book.css).
function boxWideFigures() {
  for (const image of document.querySelectorAll("article :is(.cell_output, section, p) > img")) {
    if (image.naturalWidth <= 620) continue;
    const box = document.createElement("div");
    box.className = "wide-figure";
    image.replaceWith(box);
    box.append(image);
  }
}

// What scrolls can be reached and scrolled by keyboard.
function makeScrollable() {
  const boxes =
    ".pst-scrollable-table-container, .wide-figure, .cell_output .output, .cell_output .output > div, pre";
  for (const box of document.querySelectorAll(`article :is(${boxes})`)) {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
    if (scrolls && box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}

addEventListener("load", () => {
  boxWideFigures();
  makeScrollable();
});
addEventListener("resize", makeScrollable);
addEventListener("DOMContentLoaded", () => {
  // Its entries are no list items to a screen reader, so it is no list.
  for (const list of document.querySelectorAll(".citation-list")) list.removeAttribute("role");
});
