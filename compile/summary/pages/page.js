"use strict";
// Shows the answer for the board and the time that are picked; every answer is in the page.
const pick = document.getElementById("pick");
if (pick) {
  const [board, limit] = pick.querySelectorAll("select");
  const show = () => {
    const ms = Number(limit.value);
    for (const choice of document.querySelectorAll(".choice")) {
      choice.hidden = choice.id !== `on-${board.value}`;
      for (const answer of choice.querySelectorAll(".answer")) answer.hidden = Number(answer.dataset.ms) !== ms;
      for (const row of choice.querySelectorAll("[data-fits]")) {
        const fits = Number(row.dataset.fits);
        row.classList.toggle("fits", fits > 0 && fits <= ms);
        row.classList.toggle("take-it", row.dataset.take.split(" ").includes(limit.value));
      }
    }
  };
  pick.hidden = false;
  pick.addEventListener("change", show);
  pick.addEventListener("submit", (event) => event.preventDefault());
  show();
  document.getElementById("devices").open = false; // the table of all boards is for who has no script
}
// Opens the section that a link names.
const reveal = () => {
  const section = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (section && section.tagName === "DETAILS") section.open = true;
};
addEventListener("hashchange", reveal);
reveal();
// Sorts a table by the column whose head is pressed; a second press turns the order. Rows without a number come last.
for (const table of document.querySelectorAll("table.data")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const body = table.tBodies[0];
      const text = (row) => row.cells[column].textContent;
      const key = (row) => {
        const words = head.className === "t" && !/^[\d.]+x?$/.test(text(row));
        const number = words ? NaN : parseFloat(text(row).replace(/,/g, ""));
        return Number.isNaN(number) ? null : number;
      };
      const rows = [...body.rows].sort((left, right) => {
        const a = key(left), b = key(right);
        if (a !== null && b !== null) return down ? b - a : a - b;
        if (a !== null || b !== null) return a === null ? 1 : -1;
        const order = text(left).localeCompare(text(right), "en");
        return down ? -order : order;
      });
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}
