// The pictures, one page at a time.

const CARDS = 24;

class Gallery {
  /** @param caption row to {words, value}  @param draw draws a row into a canvas  @param open called with the chosen row */
  constructor(root, { caption, draw, open }) {
    Object.assign(this, { caption, draw, open, rows: [], first: 0 });
    this.cards = root.querySelector(".cards-of-photos");
    this.near = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        target.near = isIntersecting;
        if (isIntersecting && target.stale) this.picture(target);
      }
    }, { rootMargin: "200px" });
    this.pagers = [...root.querySelectorAll(".pager")];
    for (const pager of this.pagers) {
      pager.addEventListener("click", (event) => {
        const step = Number(event.target.closest("button")?.dataset.step ?? 0);
        if (step) this.turn(step);
      });
    }
  }

  show(rows) {
    this.rows = rows;
    this.first = 0;
    this.render();
  }

  turn(step) {
    this.first = Math.min(Math.max(0, this.first + step * CARDS), Math.max(0, this.rows.length - 1));
    this.first -= this.first % CARDS;
    this.render();
  }

  get seen() {
    return this.rows.slice(this.first, this.first + CARDS);
  }

  render() {
    const focused = document.activeElement?.closest?.(".photo-card")?.dataset.place;
    this.near.disconnect();
    this.cards.replaceChildren(...this.seen.map((row) => this.card(row)));
    if (focused !== undefined) this.cards.querySelector(`[data-place="${focused}"]`)?.focus();
    const last = Math.min(this.first + CARDS, this.rows.length);
    for (const pager of this.pagers) {
      pager.hidden = this.rows.length <= CARDS;
      pager.querySelector("span").textContent = `${this.first + 1} to ${last} of ${this.rows.length}`;
      pager.querySelector("[data-step='-1']").disabled = this.first === 0;
      pager.querySelector("[data-step='1']").disabled = last === this.rows.length;
    }
    this.redraw();
    for (const card of this.cards.children) this.near.observe(card);
  }

  card(row) {
    const card = document.createElement("button");
    card.type = "button";
    card.className = "photo-card";
    card.dataset.place = row.place;
    card.row = row;
    const frame = document.createElement("span");
    frame.className = "frame";
    frame.append(document.createElement("canvas"));
    const words = document.createElement("span");
    words.className = "words";
    card.append(frame, words);
    card.addEventListener("click", () => this.open(row));
    return card;
  }

  picture(card) {
    card.stale = false;
    this.draw(card.row, card.querySelector("canvas"));
  }

  /** Show text at once, visible pictures first, and the others when they become visible. */
  redraw() {
    this.seen.forEach((row, i) => {
      const card = this.cards.children[i];
      card.stale = true;
      if (card.near) this.picture(card);
      const { value, words, why, name } = this.caption(row);
      const strong = document.createElement("strong");
      strong.textContent = value;
      const soft = document.createElement("span");
      soft.textContent = words;
      const doubt = Object.assign(document.createElement("span"), { textContent: why, className: "why" });
      card.querySelector(".words").replaceChildren(strong, soft, ...(why ? [doubt] : []));
      card.setAttribute("aria-label", name);
      card.title = row.id;
    });
  }
}
