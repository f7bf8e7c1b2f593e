"use strict";
// Sorts a table by the column whose head is pressed; a second press turns the order. Rows without a number come last.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const body = table.tBodies[0];
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
      };
      const rows = [...body.rows].sort((left, right) => {
        const a = key(left), b = key(right);
        if (a !== null && b !== null) return down ? b - a : a - b;
        if (a !== null || b !== null) return a === null ? 1 : -1;
        const order = left.cells[column].textContent.localeCompare(right.cells[column].textContent, "en");
        return down ? -order : order;
      });
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}
