"use strict";
// The state of the server and the changes since; saving, one photo at a time.

const token = new URLSearchParams(location.search).get("token") || "";
const $ = (id) => document.getElementById(id);
const app = { title: "", order: "name", classes: [], photos: [], current: -1, selected: -1, lastClass: "" };
const dirty = new Map(); // index of a photo -> number of changes since it was last sent
let work = Promise.resolve(); // one request at a time, in order
let queued = false;
let waiting = 0;
const GONE = "'dips view' is not responding. Start it again; everything saved so far is kept.";

async function ask(path, body) {
  const options = { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  return fetch(path, options);
}

async function picture(index, size) {
  const reply = await ask(`/api/photos/${index}/${size}`);
  if (!reply.ok) throw new Error((await reply.json()).error);
  return reply.blob();
}

function photo(index = app.current) {
  return app.photos[index];
}

function boxes(index = app.current) {
  return index < 0 ? [] : photo(index).state.boxes;
}

// Returns "no boxes", "1 box", "2 boxes".
function counted(count, one, many = `${one}s`) {
  return count === 1 ? `1 ${one}` : `${count ? count.toLocaleString("en") : "no"} ${many}`;
}

function same(one, other) {
  return one.every((value, index) => value === other[index]);
}

// "predicted", "accepted", or "changed": moved, of another class, or drawn
function kind(index, box) {
  const found = box.of === null ? null : photo(index).found[box.of];
  if (!found || !same(box.box, found) || box.label !== found[5]) return "changed";
  return box.accepted ? "accepted" : "predicted";
}

// Returns whether boxes were changed but the photo is not reviewed, so that it is not in the file.
function unfinished(index) {
  const { state, found } = photo(index);
  return !state.reviewed && (state.boxes.length !== found.length || state.boxes.some((box) => kind(index, box) !== "predicted"));
}

function reviewText(index) {
  return photo(index).state.reviewed ? "reviewed" : unfinished(index) ? "changed, not reviewed" : "not reviewed";
}

function kindText(index, box) {
  const which = kind(index, box);
  return which === "changed" ? (box.of === null ? "drawn" : "adjusted") : which === "accepted" ? "accepted" : "not checked yet";
}

function scoreOf(index, box) {
  const found = box.of === null ? null : photo(index).found[box.of];
  return found && same(box.box, found) ? found[4] : null;
}

// Changes the boxes of a photo or its mark; "later" waits for more changes of the same kind (a key held down).
function change(index, next, later = false) {
  const before = photo(index).state;
  photo(index).state = { ...before, ...next };
  dirty.set(index, (dirty.get(index) || 0) + 1);
  clearTimeout(waiting);
  waiting = 0;
  showSaved("Saving");
  if (later) waiting = setTimeout(save, 500);
  else save();
  changed(index);
}

function save() {
  clearTimeout(waiting);
  waiting = 0;
  if (!queued) {
    queued = true;
    afterwards(() => {
      queued = false;
      return saveAll();
    });
  }
  return work;
}

// A failed request must not prevent later ones.
function afterwards(request) {
  work = work.catch(() => {}).then(request);
  return work;
}

async function saveAll() {
  while (dirty.size) {
    const [index, count] = dirty.entries().next().value;
    const sent = photo(index).state;
    let reply, answer;
    try {
      reply = await ask(`/api/photos/${index}`, sent);
      answer = await reply.json();
      if (reply.status === 400) answer.state = (await listing()).photos[index].state;
    } catch (error) {
      return notSaved(GONE);
    }
    if (reply.status === 409 || reply.status === 400) { // the server's state wins
      dirty.delete(index);
      photo(index).state = answer.state;
      tell(reply.status === 409 ? `${photo(index).name} was changed in another window; this is its current state.` : answer.error);
      changed(index);
      continue;
    }
    if (!reply.ok) return notSaved(answer.error);
    photo(index).state.version = answer.state.version;
    if (dirty.get(index) === count) dirty.delete(index);
  }
  showSaved("Saved");
}

function notSaved(why) {
  showSaved("Not saved");
  tell(why);
  waiting = setTimeout(save, 3000);
}

function undo() {
  save();
  return afterwards(() => (dirty.size ? say("Not undone: the last change is not saved yet") : takeBack()));
}

async function takeBack() {
  let reply, answer;
  try {
    reply = await ask("/api/undo", {});
    answer = await reply.json();
  } catch (error) {
    return notSaved(GONE);
  }
  if (!reply.ok) return notSaved(answer.error);
  if (answer.photo === null) return say("Nothing to undo: nothing was changed since 'dips view' was started");
  if (dirty.has(answer.photo)) { // changed again in the meantime: what the user sees wins
    photo(answer.photo).state.version = answer.state.version;
    return;
  }
  const before = photo(answer.photo).state;
  photo(answer.photo).state = answer.state;
  if (answer.photo !== app.current) show(answer.photo);
  const missed = (box) => !before.boxes.some((other) => JSON.stringify(other) === JSON.stringify(box));
  if (answer.state.boxes.length > before.boxes.length) app.selected = answer.state.boxes.findIndex(missed);
  changed(answer.photo);
  say(`Undone in ${shortName(photo().name)}: ${undone(before, answer.state)}`);
}

function undone(before, after) {
  const [was, is] = [before.boxes, after.boxes];
  const parts = [];
  if (is.length !== was.length) parts.push(is.length > was.length ? "the deleted box is back" : "the drawn box is gone");
  else if (is.some((box, index) => box.label !== was[index].label)) parts.push("the box has its class back");
  else if (is.some((box, index) => !same(box.box, was[index].box))) parts.push("the box is where it was");
  else if (is.some((box, index) => box.accepted !== was[index].accepted)) {
    const count = is.filter((box) => !box.accepted).length;
    parts.push(count ? `${counted(count, "box is", "boxes are")} not checked` : "the boxes are accepted");
  }
  if (after.reviewed !== before.reviewed) parts.push(after.reviewed ? "the photo is reviewed" : "the photo is not reviewed");
  return parts.join(", ");
}

async function listing() {
  const reply = await ask("/api/photos");
  if (!reply.ok) throw new Error((await reply.json()).error);
  return reply.json();
}

async function load() {
  const all = await listing();
  app.title = all.title;
  app.order = all.order;
  app.classes = all.classes;
  app.photos = all.photos;
  return all.start;
}

function showSaved(text) {
  $("saved").textContent = text;
  $("saved").className = `saved ${text === "Saved" ? "good" : text === "Not saved" ? "bad" : ""}`;
  if (text === "Saved" && $("notice").dataset.until === "saved") $("notice").hidden = true;
}

// Shows a message until it is dismissed, or, if it is about saving, until that works again.
function tell(text, look = "bad") {
  $("notice").firstElementChild.textContent = text;
  $("notice").className = look;
  $("notice").dataset.until = $("saved").textContent === "Not saved" ? "saved" : "";
  $("notice").hidden = false;
}

// Says in the line below the photo what a key or click did, or why it did nothing; the line blinks, as the text may not change.
function say(text) {
  $("said").textContent = $("said").title = text;
  $("said").animate([{ opacity: 0.2 }, { opacity: 1 }], 250);
}

addEventListener("beforeunload", (event) => {
  if (!dirty.size) return;
  save();
  event.preventDefault();
});
