"use strict";
// The list of photos: filters, order, and rendering of the visible rows only.

const ROW = 64;
const MAX_THUMBS = 300; // kept in memory
const list = { shown: [], thumbs: new Map(), rows: new Map() };

function lowest(index) {
  return photo(index).found.reduce((least, found) => Math.min(least, found[4] ?? Infinity), Infinity);
}

// "name", "score" or "informative".
function order() {
  return $("order").value;
}

// Returns the key that photos are sorted by, the lowest first; photos without a priority come last.
const sortKey = { name: () => 0, score: lowest, informative: (index) => -(photo(index).priority ?? -1) };

function setOrder(name) {
  if (app.photos.every(({ priority }) => priority === null)) $("order").querySelector("[value=informative]").remove(); // predicted by an earlier version
  $("order").value = name;
}

function matches(index) {
  const { state, label, name } = photo(index);
  const show = $("show").value, wanted = $("class").value, text = $("search").value.trim().toLowerCase();
  if (show === "open" && state.reviewed) return false;
  if (show === "unfinished" && !unfinished(index)) return false;
  if (show === "done" && !state.reviewed) return false;
  if (show === "empty" && state.boxes.length) return false;
  if (wanted && label !== wanted && !state.boxes.some((box) => box.label === wanted)) return false;
  return !text || name.toLowerCase().includes(text);
}

// The current photo stays in the list even when it no longer matches.
function filter(keep = true) {
  list.shown = app.photos.map((_, index) => index).filter((index) => matches(index) || (keep && index === app.current));
  const key = sortKey[order()];
  list.shown.sort((one, other) => key(one) - key(other) || one - other);
  $("order-means").hidden = order() !== "informative";
  const count = list.shown.length, all = app.photos.length;
  $("listed").textContent = count === all ? `${all.toLocaleString("en")} photos` : `${count.toLocaleString("en")} of ${all.toLocaleString("en")} photos`;
  $("rows").style.height = `${count * ROW}px`;
  paintRows(true);
}

// A new list starts at its first photo; while a name is typed, the current photo stays as long as it matches.
function refilter(typing) {
  if ($("notice").className === "good") $("notice").hidden = true; // it is about the previous list
  filter(false);
  const keep = typing ? list.shown.includes(app.current) : list.shown[0] === app.current;
  if (list.shown.length && !keep) show(list.shown[0]);
  else scrollToCurrent();
}

function neighbour(step, accept = () => true) {
  const at = list.shown.indexOf(app.current);
  for (let position = at < 0 ? 0 : at + step; position >= 0 && position < list.shown.length; position += step) {
    if (accept(list.shown[position])) return list.shown[position];
  }
  return -1;
}

function scrollToCurrent() {
  const at = list.shown.indexOf(app.current);
  const top = at * ROW, view = $("list");
  if (at >= 0 && (top < view.scrollTop || top + ROW > view.scrollTop + view.clientHeight)) {
    view.scrollTop = top - (view.clientHeight - ROW) / 2;
  }
  paintRows();
}

function paintRows(refresh = false) {
  const view = $("list");
  const first = Math.max(0, Math.floor(view.scrollTop / ROW) - 3);
  const last = Math.min(list.shown.length, Math.ceil((view.scrollTop + view.clientHeight) / ROW) + 3);
  const visible = new Map(list.shown.slice(first, last).map((index, offset) => [index, first + offset]));
  for (const [index, row] of list.rows) {
    if (!visible.has(index)) { row.remove(); list.rows.delete(index); }
  }
  for (const [index, position] of visible) {
    let row = list.rows.get(index);
    if (!row) {
      row = makeRow(index);
      list.rows.set(index, row);
      $("rows").append(row);
      fillRow(row, index);
    } else if (refresh) fillRow(row, index);
    row.style.top = `${position * ROW}px`;
    row.setAttribute("aria-posinset", String(position + 1));
    row.setAttribute("aria-setsize", String(list.shown.length));
    row.setAttribute("aria-selected", String(index === app.current));
  }
  if (list.rows.has(app.current)) view.setAttribute("aria-activedescendant", `photo-${app.current}`);
  else view.removeAttribute("aria-activedescendant");
}

function makeRow(index) {
  const row = document.createElement("div");
  row.className = "row";
  row.id = `photo-${index}`;
  row.setAttribute("role", "option");
  row.innerHTML = '<img alt="" hidden><span class="none"></span><span class="text"><span class="file"></span>'
    + '<span class="where"></span></span><span class="tick"><span aria-hidden="true">✓</span><span class="unseen"></span></span>';
  row.addEventListener("click", () => show(index));
  thumb(index, row);
  return row;
}

function fillRow(row, index) {
  const { name, state, label, priority } = photo(index);
  const count = state.boxes.length;
  const scores = state.boxes.map((box) => scoreOf(index, box)).filter((score) => score !== null);
  const least = scores.length ? ` · ${Math.min(...scores).toFixed(2)}` : "";
  const first = order() === "informative" && priority !== null ? `${priority.toFixed(2)} · ` : "";
  row.title = first ? `${name}: priority ${priority.toFixed(2)}` : name;
  row.querySelector(".file").textContent = shortName(name);
  row.querySelector(".where").textContent = `${first}${count === 0 ? "no boxes" : count === 1 ? "1 box" : `${count} boxes`}${first ? "" : least} · ${label}`;
  row.querySelector(".tick").classList.toggle("done", state.reviewed);
  row.querySelector(".tick .unseen").textContent = reviewText(index);
}

async function thumb(index, row) {
  let address = list.thumbs.get(index);
  if (!address) {
    await new Promise((resolve) => setTimeout(resolve, 60)); // not for rows that are only scrolled past
    if (!row.isConnected) return;
    try {
      address = URL.createObjectURL(await picture(index, "small"));
    } catch (error) {
      return;
    }
    list.thumbs.set(index, address);
    if (list.thumbs.size > MAX_THUMBS) {
      const [oldest, gone] = list.thumbs.entries().next().value;
      list.thumbs.delete(oldest);
      URL.revokeObjectURL(gone);
    }
  }
  const image = row.querySelector("img");
  image.src = address;
  image.hidden = false;
  row.querySelector(".none").hidden = true;
}

function fillClasses() {
  const counts = new Map(app.classes.map((name) => [name, 0]));
  for (const { label, state } of app.photos) {
    for (const name of new Set([label, ...state.boxes.map((box) => box.label)])) counts.set(name, (counts.get(name) || 0) + 1);
  }
  const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
  $("class").replaceChildren(option("", "All classes"), ...[...counts].map(([name, count]) => option(name, `${name} (${count})`)));
}

$("list").addEventListener("scroll", () => paintRows());
new ResizeObserver(() => paintRows()).observe($("list"));
for (const id of ["show", "order", "class"]) $(id).addEventListener("change", () => refilter(false));
$("search").addEventListener("input", () => refilter(true));

// Returns the file's name, with its folders if another photo has the same name.
const twice = new Map();
function shortName(name) {
  if (!twice.size) for (const { name: other } of app.photos) {
    const last = other.split("/").pop();
    twice.set(last, twice.has(last));
  }
  const last = name.split("/").pop();
  return twice.get(last) ? name : last;
}
