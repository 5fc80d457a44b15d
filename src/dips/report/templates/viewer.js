// One large photo in a dialog; the arrow keys show the previous and next one.

class Viewer {
  /** @param facts row to pairs of words  @param draw draws a row into a canvas  @param around returns the rows to turn to */
  constructor(dialog, { facts, draw, around }) {
    Object.assign(this, { dialog, facts, draw, around, row: null });
    this.canvas = dialog.querySelector("canvas");
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-turn], button[data-close]");
      if (event.target === dialog || button?.dataset.close !== undefined) dialog.close();
      else if (button) this.turn(Number(button.dataset.turn));
    });
  }

  open(row) {
    this.row = row;
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector(".stage").focus();
    this.render();
  }

  turn(step) {
    const rows = this.around();
    if (!rows.length) return;
    const at = rows.indexOf(this.row);
    const from = at >= 0 ? at : step > 0 ? -1 : 0;
    this.row = rows[(from + step + rows.length) % rows.length];
    this.render();
  }

  render() {
    if (!this.dialog.open) return;
    const { row } = this, rows = this.around(), at = rows.indexOf(row);
    this.dialog.querySelector("h3").textContent = row.id;
    this.dialog.querySelector(".place").textContent = at < 0 ? "" : `${at + 1} of ${rows.length}`;
    const list = this.facts(row).flatMap(([name, words]) => {
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      text.textContent = words;
      return [term, text];
    });
    this.dialog.querySelector("dl").replaceChildren(...list);
    this.dialog.querySelector(".stage").hidden = false;
    this.canvas.hidden = !row.photo;
    this.dialog.querySelector(".no-picture").hidden = Boolean(row.photo);
    if (row.photo) this.draw(row, this.canvas);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "range") return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    this.turn(step);
    event.preventDefault();
  }
}
