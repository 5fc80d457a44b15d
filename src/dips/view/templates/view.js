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

async function show(index, before = "") {
  if ($("notice").className === "good") $("notice").hidden = true;
  if (waiting) save();
  if (!document.activeElement.matches(".photos input, .photos select")) backToPhoto(); // keys go to the photo, unless the user is searching or filtering
  toldNoBox = false;
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
  say(`${before}${photo().name}: ${counted(boxes().length, "box", "boxes")}, ${reviewText(index)}`);
  paintProgress();
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
  $("facts").textContent = `${label} ${score.toFixed(2)} · ${size.join(" × ")} px · ${reviewText(app.current)}`;
  canvas.setAttribute("aria-label", `${name} with ${counted(boxes().length, "box", "boxes")}; press Tab to select one`);
  $("accept").firstElementChild.textContent = boxes().length ? "Accept all, next" : "No object, next";
  $("reopen").disabled = !state.reviewed;
}

function paintProgress() {
  const done = app.photos.filter(({ state }) => state.reviewed).length, all = app.photos.length;
  $("count").textContent = `${done.toLocaleString("en")} of ${all.toLocaleString("en")} reviewed`;
  $("progress").firstElementChild.style.width = `${(100 * done) / all}%`;
  $("progress").setAttribute("aria-valuemax", String(all));
  $("progress").setAttribute("aria-valuenow", String(done));
  const left = app.photos.map((_, index) => index).filter((index) => index !== app.current && unfinished(index)); // the current one is in progress
  const names = left.slice(0, 3).map((index) => shortName(photo(index).name)).join(", ") + (left.length > 3 ? ` and ${left.length - 3} more` : "");
  const text = left.length ? `${counted(left.length, "photo was", "photos were")} changed but not reviewed: ${names}` : "";
  if ($("unfinished").textContent !== text) $("unfinished").textContent = text;
  $("unfinished").hidden = !text;
}

function acceptAll() {
  if (unseen()) return;
  const count = counted(boxes().length, "box", "boxes"), again = photo().state.reviewed && boxes().every((box) => box.accepted);
  const done = `${shortName(photo().name)}: ${again ? "reviewed already" : boxes().length ? `${count} accepted, u undoes it` : "no object, confirmed; u undoes it"}`;
  change(app.current, { reviewed: true, boxes: boxes().map((box) => ({ ...box, accepted: true })) });
  const onlyOpen = $("show").value === "open";
  const next = neighbour(1, (index) => !onlyOpen || !photo(index).state.reviewed);
  if (next >= 0) return void show(next, `${done}. Now `);
  say(done);
  const left = app.photos.filter(({ state }) => !state.reviewed).length;
  const text = left ? `That was the last photo in the list; ${counted(left, "photo is", "photos are")} still not reviewed.` : "All photos are reviewed.";
  tell(text, "good");
}

function go(step) {
  const next = neighbour(step);
  if (next >= 0) show(next);
  else if (!list.shown.length) say("No photo matches the filters on the left");
  else say(step > 0 ? "This is the last photo in the list" : "This is the first photo in the list");
}

function goToEnd(last) {
  const end = list.shown.at(last ? -1 : 0);
  if (end === undefined || end === app.current) go(last ? 1 : -1); // says why not
  else show(end);
}

// Resets predicted boxes to their state before the review; boxes that a person drew or adjusted stay.
function reopen() {
  if (!photo().state.reviewed) return say("Nothing to reopen: the photo is not reviewed yet");
  const before = (box) => ({ ...box, accepted: kind(app.current, box) === "changed" });
  change(app.current, { reviewed: false, boxes: boxes().map(before) });
  say(`${shortName(photo().name)} counts as not reviewed, its predicted boxes as not checked`);
}

function selectNumber(number) {
  if (boxes()[number - 1]) select(number - 1);
  else say(`There is no box ${number}: this photo has ${counted(boxes().length, "box", "boxes")}`);
}

const CHOOSE = "Choose the class with the arrow keys or its first letters; Enter returns to the photo";
function chooseClass() {
  if (!chosenBox()) return;
  document.querySelector('[data-part="class"]').focus();
  say(CHOOSE);
}

function leave() {
  if (stage.drag) { endDrag(false); say("Broken off: nothing was changed"); }
  else if (stage.drawing) { setDrawing(false); say("No box drawn"); }
  else if (!isPhoto(document.activeElement)) { backToPhoto(); say("Back at the photo"); }
  else { say(app.selected < 0 ? "Nothing to cancel: no box is selected" : "No box is selected now"); select(-1); }
}

function draw() {
  setDrawing(!stage.drawing);
  say(stage.drawing ? "Drag to draw a box" : "No box drawn");
}

// Whether keys go to the photo: nothing else on the page has the focus.
function isPhoto(element) {
  return element === canvas || element === document.body || element === $("list");
}

function nextBox(step) {
  const next = app.selected < 0 ? (step > 0 ? 0 : boxes().length - 1) : app.selected + step;
  if (!boxes()[next]) return false;
  select(next);
  return true;
}

const KEYS = {
  j: () => go(1), ArrowDown: () => go(1), k: () => go(-1), ArrowUp: () => go(-1), Home: () => goToEnd(false), End: () => goToEnd(true),
  a: acceptAll, r: reopen, u: undo, d: deleteBox, Delete: deleteBox, Backspace: deleteBox, Enter: acceptBox,
  n: draw, f: fit, "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), c: chooseClass, Escape: leave,
  h: () => { stage.hidden = !stage.hidden; say(stage.hidden ? "Boxes hidden; h shows them" : "Boxes shown"); paint(); },
  "?": () => $("help").showModal(),
};
const HELD = new Set(["j", "k", "ArrowDown", "ArrowUp", "+", "=", "-"]); // repeat while held down
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let byMouse = false;

// Returns the key as spelled in KEYS, also with Caps Lock, and by its position if the letters are not Latin.
function keyOf({ key, code }) {
  if (/^[^\0-\x7f]$/.test(key) && /^Key[A-Z]$/.test(code)) return code[3].toLowerCase();
  return key.length === 1 ? key.toLowerCase() : key;
}

function inField(event, key, control) {
  const field = event.target, isChoice = field.matches("select");
  if (key === "Escape" || (key === "Enter" && field.type !== "number")) { event.preventDefault(); backToPhoto(); }
  else if (control && key === "z" && (isChoice || (field.type === "number" && field.value === field.defaultValue))) takeStepBack(event);
  else if (isChoice && event.repeat && key.length === 1) event.preventDefault(); // "c" held down would choose a class that starts with it
  else if (field.type === "number" && key.length === 1 && !control && !/[\d.,e+-]/.test(key)) say("Keys go into the field: Esc returns to the photo");
}

function takeStepBack(event) {
  event.preventDefault();
  if (event.shiftKey || keyOf(event) === "y") say("There is no redo");
  else if (!event.repeat) undo();
}

function withoutEffect(key, target) {
  const scrolls = target === $("list") && /^( |Page.*)$/.test(key), presses = target.matches("button") && key === " ";
  if (scrolls || presses) return;
  if (ARROWS[key]) say("Shift and an arrow key move the selected box, Ctrl and an arrow key its corner");
  else if (key.length === 1 || /^(Page.*|Insert)$/.test(key)) say(`${key === " " ? "Space" : key} does nothing here: ? shows all keys`);
}

addEventListener("keydown", (event) => {
  const key = keyOf(event), target = event.target, control = event.ctrlKey || event.metaKey;
  byMouse = false;
  if ($("help").open && key === "?") { event.preventDefault(); return $("help").close(); }
  if ($("help").open || app.current < 0 || event.defaultPrevented || event.isComposing) return;
  if (target.matches("input, select")) return inField(event, key, control);
  const known = KEYS[key] || ARROWS[key] || key === "Tab" || key.length === 1;
  if (stage.drag && key !== "Escape" && known && !control) {
    event.preventDefault();
    return say("Release the mouse button first; Esc leaves the box as it was");
  }
  if (ARROWS[key] && (event.shiftKey || control) && !event.altKey) {
    event.preventDefault();
    return nudge(...ARROWS[key], control ? [1, 1] : [0, 0]);
  }
  if (control && (key === "z" || key === "y")) return takeStepBack(event);
  if (control || event.altKey) return;
  if (key === "Tab") return tab(event);
  if (key === "Enter" && target.matches("button")) return;
  if (/^[1-9]$/.test(key)) return selectNumber(Number(key));
  if (!KEYS[key]) return withoutEffect(key, target);
  event.preventDefault();
  if (!event.repeat || HELD.has(key)) KEYS[key]();
});

addEventListener("focusout", (event) => {
  const box = boxes()[app.selected];
  if (box && event.target.dataset.part === "class" && $("said").textContent === CHOOSE) say(`Box ${app.selected + 1} stays ${box.label}`);
});

// Selects the next box; after the last one, or the second time without any, Tab moves on through the page, so that nobody is trapped.
let toldNoBox = false;
function tab(event) {
  const isBack = event.shiftKey, isList = event.target === $("list");
  if (!isPhoto(event.target) || (isList && isBack)) return;
  if (nextBox(isBack ? -1 : 1)) { event.preventDefault(); canvas.focus(); }
  else if (!boxes().length) {
    if (!toldNoBox) event.preventDefault();
    say(toldNoBox ? "Tab goes on through the page, Esc returns to the photo" : "There is no box in this photo: n draws one, Tab again goes on through the page");
    toldNoBox = true;
  }
  else say("There are no more boxes: Tab goes on through the page, Esc returns to the photo");
}

const CLICKS = {
  back: () => go(-1), next: () => go(1), accept: acceptAll, reopen, undo, draw,
  in: () => zoom(1.3), out: () => zoom(1 / 1.3), fit, keys: () => $("help").showModal(), close: () => $("help").close(),
  dismiss: () => { $("notice").hidden = true; },
};
for (const [id, work] of Object.entries(CLICKS)) {
  $(id).addEventListener("click", () => { if (app.current >= 0 || ["keys", "close", "dismiss"].includes(id)) work(); });
}
$("help").addEventListener("click", (event) => { if (event.target === $("help")) $("help").close(); });

// After a click or a choice with the mouse, keys go to the photo: Enter must not press the button again, nor a letter choose
// another class. With the keyboard, the focus stays.
addEventListener("pointerdown", () => { byMouse = true; }, true);
addEventListener("click", (event) => {
  if (event.detail && !$("help").open && event.target.closest("button, .row")) backToPhoto();
}, true);
addEventListener("change", (event) => { if (byMouse && event.target.matches("select")) backToPhoto(); });

// Returns the photo to start with: one left unfinished, else the first in the list that is not reviewed.
function firstPhoto(start) {
  filter(false);
  return unfinished(start) ? start : list.shown.find((index) => !photo(index).state.reviewed) ?? start;
}

(async () => {
  try {
    const start = await load();
    setOrder(app.order);
    document.title = `${app.title}: DiPS review`;
    $("title").textContent = app.title;
    fillClasses();
    paintProgress();
    showSaved("Saved");
    await show(firstPhoto(start));
  } catch (error) {
    tell(`Cannot load the list of photos: ${error.message}`);
  }
})();
