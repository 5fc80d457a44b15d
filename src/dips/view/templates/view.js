"use strict";
// Navigation between photos, the keyboard, and startup.

const READY_PHOTOS = 6; // photos kept in memory
const ready = new Map();

function fetchPhoto(index) {
  if (!ready.has(index)) {
    ready.set(index, picture(index, "large").then((blob) => createImageBitmap(blob)));
    ready.get(index).catch(() => ready.delete(index));
    if (ready.size > READY_PHOTOS) {
      const oldest = [...ready.keys()].find((other) => other !== app.current && other !== index);
      const gone = ready.get(oldest);
      ready.delete(oldest);
      gone.then((image) => image !== stage.image && image.close(), () => {});
    }
  }
  return ready.get(index);
}

async function show(index) {
  if ($("notice").className === "good") $("notice").hidden = true;
  if (waiting) save();
  stage.drag = null;
  app.current = index;
  app.selected = -1;
  stage.image = null;
  stage.hidden = false;
  $("missing").hidden = true;
  setDrawing(false);
  filter();
  scrollToCurrent();
  paintFacts();
  paintBoxes();
  fit();
  say(`${photo().name}, ${boxes().length} boxes, ${photo().state.reviewed ? "reviewed" : "not reviewed"}`);
  try {
    const image = await fetchPhoto(index);
    if (app.current !== index) return;
    stage.image = image;
    canvas.dataset.shown = String(index);
  } catch (error) {
    if (app.current !== index) return;
    $("missing").textContent = error instanceof TypeError ? "'dips view' is not responding." : error.message;
    $("missing").hidden = false;
  }
  paint();
  const next = neighbour(1);
  if (next >= 0) fetchPhoto(next).catch(() => {});
}

// Updates everything on the page that depends on the state of a photo.
function changed(index) {
  if (index === app.current) {
    if (!boxes()[app.selected]) app.selected = -1;
    paintFacts();
    paintBoxes();
    paint();
  }
  if (list.rows.has(index)) fillRow(list.rows.get(index), index);
  paintProgress();
}

function paintFacts() {
  const { name, size, label, label_score: score, state } = photo();
  $("name").textContent = name;
  $("facts").textContent = `${label} ${score.toFixed(2)} · ${size.join(" × ")} px · ${state.reviewed ? "reviewed" : "not reviewed"}`;
  canvas.setAttribute("aria-label", `${name} with ${boxes().length} boxes; press Tab to select one`);
  $("accept").firstElementChild.textContent = boxes().length ? "Accept all, next" : "No object, next";
  $("reopen").disabled = !state.reviewed;
}

function paintProgress() {
  const done = app.photos.filter(({ state }) => state.reviewed).length, all = app.photos.length;
  $("count").textContent = `${done.toLocaleString("en")} of ${all.toLocaleString("en")} reviewed`;
  $("progress").firstElementChild.style.width = `${(100 * done) / all}%`;
  $("progress").setAttribute("aria-valuemax", String(all));
  $("progress").setAttribute("aria-valuenow", String(done));
}

function acceptAll() {
  change(app.current, { reviewed: true, boxes: boxes().map((box) => ({ ...box, accepted: true })) });
  const onlyOpen = $("show").value === "open";
  const next = neighbour(1, (index) => !onlyOpen || !photo(index).state.reviewed);
  if (next >= 0) return void show(next);
  const left = app.photos.filter(({ state }) => !state.reviewed).length;
  const text = left ? `That was the last photo in the list; ${left} photos are still not reviewed.` : "All photos are reviewed.";
  tell(text, "good");
}

function go(step) {
  const next = neighbour(step);
  if (next >= 0) show(next);
  else say(step > 0 ? "This is the last photo in the list" : "This is the first photo in the list");
}

function reopen() {
  if (photo().state.reviewed) change(app.current, { reviewed: false });
}

function nextBox(step) {
  const next = app.selected < 0 ? (step > 0 ? 0 : boxes().length - 1) : app.selected + step;
  if (!boxes()[next]) return false;
  select(next);
  return true;
}

const KEYS = {
  j: () => go(1), ArrowDown: () => go(1), k: () => go(-1), ArrowUp: () => go(-1),
  a: acceptAll, r: reopen, u: undo, d: deleteBox, Delete: deleteBox, Backspace: deleteBox,
  n: () => setDrawing(!stage.drawing), f: fit, "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3),
  h: () => { stage.hidden = !stage.hidden; say(stage.hidden ? "Boxes hidden" : "Boxes shown"); paint(); },
  c: () => { const choice = document.querySelector('[data-part="class"]'); if (choice) choice.focus(); else say("Select a box first"); },
  "?": () => $("help").showModal(),
  Escape: () => { if (stage.drag) endDrag(false); else if (stage.drawing) setDrawing(false); else select(-1); },
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

addEventListener("keydown", (event) => {
  if ($("help").open || app.current < 0 || event.defaultPrevented) return;
  const target = event.target, typing = target.matches("input, select");
  if (typing) {
    if (event.key === "Escape" || (event.key === "Enter" && target.matches("select"))) { canvas.focus(); event.preventDefault(); }
    return;
  }
  const control = event.ctrlKey || event.metaKey;
  if (ARROWS[event.key] && (event.shiftKey || control) && !event.altKey) {
    event.preventDefault();
    return nudge(...ARROWS[event.key], control ? [1, 1] : [0, 0]);
  }
  if (control && event.key === "z") { event.preventDefault(); return void undo(); }
  if (control || event.altKey) return;
  if (event.key === "Tab" && (target === canvas || target === document.body)) { // past the last box Tab moves on through the page
    if (nextBox(event.shiftKey ? -1 : 1)) { event.preventDefault(); canvas.focus(); }
    return;
  }
  if (event.key === "Enter" && !target.matches("button")) { event.preventDefault(); return acceptBox(); }
  if (/^[1-9]$/.test(event.key)) return select(Number(event.key) - 1);
  const work = KEYS[event.key];
  if (!work || (event.repeat && "adnu".includes(event.key))) return;
  event.preventDefault();
  work();
});

const CLICKS = {
  back: () => go(-1), next: () => go(1), accept: acceptAll, reopen, undo, draw: () => setDrawing(!stage.drawing),
  in: () => zoom(1.3), out: () => zoom(1 / 1.3), fit, keys: () => $("help").showModal(), close: () => $("help").close(),
  dismiss: () => { $("notice").hidden = true; },
};
for (const [id, work] of Object.entries(CLICKS)) $(id).addEventListener("click", work);
$("help").addEventListener("click", (event) => { if (event.target === $("help")) $("help").close(); });

(async () => {
  try {
    const start = await load();
    document.title = `${app.title}: DiPS review`;
    $("title").textContent = app.title;
    fillClasses();
    paintProgress();
    showSaved("Saved");
    canvas.focus({ focusVisible: false });
    await show(start);
  } catch (error) {
    tell(`Cannot load the list of photos: ${error.message}`);
  }
})();
