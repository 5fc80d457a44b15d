// The table of all photos. Only visible rows exist, so that ten thousand are as fast as ten.

const ROW_HEIGHT = 36, BEYOND = 8;

class PhotoTable {
  /** @param cells row to the texts of its cells  @param open called with the chosen row */
  constructor(scroller, cells, open) {
    Object.assign(this, { scroller, cells, open, rows: [], active: 0 });
    this.table = scroller.querySelector("table");
    this.body = scroller.querySelector("tbody");
    this.head = scroller.querySelector("thead");
    scroller.addEventListener("scroll", () => this.later());
    new ResizeObserver(() => this.later()).observe(scroller);
    this.table.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => {
      const line = event.target.closest("tr[data-at]");
      if (!line) return;
      this.table.focus({ preventScroll: true });
      this.activate(Number(line.dataset.at), false);
      this.open(this.rows[this.active]);
    });
  }

  show(rows) {
    const kept = rows.indexOf(this.rows[this.active]);
    this.rows = rows;
    this.active = Math.max(0, kept);
    this.table.setAttribute("aria-rowcount", rows.length + 1);
    if (kept < 0) this.scroller.scrollTop = 0;
    this.render();
  }

  later() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined;
      this.render();
    });
  }

  render() {
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - BEYOND);
    const last = Math.min(this.rows.length, Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + BEYOND);
    const lines = [];
    for (let at = first; at < last; at++) lines.push(this.line(at));
    this.body.replaceChildren(gap(first), ...lines, gap(this.rows.length - last));
    if (this.body.querySelector(".active")) this.table.setAttribute("aria-activedescendant", `photo-row-${this.active}`);
    else this.table.removeAttribute("aria-activedescendant");
  }

  line(at) {
    const line = document.createElement("tr");
    line.id = `photo-row-${at}`;
    line.dataset.at = at;
    line.setAttribute("aria-rowindex", at + 2);
    line.setAttribute("aria-selected", at === this.active);
    line.classList.toggle("active", at === this.active);
    line.append(...this.cells(this.rows[at]).map(({ words, more, kind }) => {
      const cell = document.createElement("td");
      cell.textContent = words;
      cell.title = (more ?? "") + words;
      if (more) cell.append(Object.assign(document.createElement("span"), { textContent: more }));
      cell.className = kind ?? "";
      return cell;
    }));
    return line;
  }

  activate(at, scroll = true) {
    this.active = Math.min(Math.max(0, at), Math.max(0, this.rows.length - 1));
    const top = this.active * ROW_HEIGHT, room = this.scroller.clientHeight - this.head.offsetHeight;
    if (scroll && top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (scroll && top + ROW_HEIGHT > this.scroller.scrollTop + room) this.scroller.scrollTop = top + ROW_HEIGHT - room;
    this.render();
  }

  key(event) {
    if (event.target !== this.table || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_HEIGHT) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.activate(this.active + steps[event.key]);
    else if ((event.key === "Enter" || event.key === " ") && this.rows.length) this.open(this.rows[this.active]);
    else return;
    event.preventDefault();
  }
}

/** Space for rows that are not rendered. */
function gap(rows) {
  const line = document.createElement("tr");
  line.className = "gap";
  line.setAttribute("aria-hidden", "true");
  line.style.height = `${rows * ROW_HEIGHT}px`;
  return line;
}
