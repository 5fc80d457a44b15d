"use strict";
// The boxes of the current photo: selecting, changing, and the panel that lists them.

function select(index) {
  app.selected = boxes()[index] ? index : -1;
  const box = boxes()[app.selected];
  if (box) stage.hidden = false;
  if (box) say(`Box ${app.selected + 1} of ${boxes().length}, ${box.label}, ${kindText(app.current, box)}`);
  paintBoxes();
  paint();
}

// Returns the selected box if it is visible; otherwise undefined, and says why.
function chosenBox() {
  const box = boxes()[app.selected];
  if (!box) say(boxes().length ? "No box is selected: Tab selects one" : "There is no box in this photo: n draws one");
  return box && !unseen() ? box : undefined;
}

// Boxes that are hidden, or on a photo that is not shown, cannot be reviewed: returns whether this is the case, and says so.
function unseen() {
  if (!stage.image) say($("missing").hidden ? "The photo is still loading" : "The photo cannot be shown, so nothing about it can be checked");
  else if (stage.hidden && boxes().length) {
    stage.hidden = false;
    paint();
    say("The boxes were hidden and are shown now: look, and press the key again");
  } else return false;
  return true;
}

// A changed box counts as accepted; once all boxes are accepted the photo is reviewed.
function acceptedWith(index, parts) {
  const next = boxes().map((box, position) => (position === index ? { ...box, ...parts, accepted: true } : box));
  return { boxes: next, reviewed: photo().state.reviewed || next.every((box) => box.accepted) };
}

function replaceBox(index, parts, what, later = false) {
  const next = acceptedWith(index, parts);
  const ends = next.reviewed && !photo().state.reviewed;
  change(app.current, next, later);
  say(`Box ${index + 1} ${what}${ends ? "; all boxes are accepted now, the photo is reviewed" : ""}`);
}

function addBox(box) {
  const label = app.classes.includes(photo().label) ? photo().label : app.lastClass || app.classes[0];
  app.selected = boxes().length;
  setDrawing(false);
  change(app.current, { boxes: [...boxes(), { box, label, of: null, accepted: true }] });
  say(`Box ${app.selected + 1} drawn: ${label}; c changes its class, u removes it`);
}

function deleteBox() {
  if (!chosenBox()) return;
  const gone = app.selected, next = boxes().filter((_, index) => index !== gone);
  app.selected = Math.min(gone, next.length - 1);
  change(app.current, { boxes: next });
  const left = next.length ? `box ${app.selected + 1} of ${next.length} is selected` : photo().state.reviewed ? "none is left" : "a confirms that there is none";
  say(`Box ${gone + 1} deleted, u brings it back; ${left}`);
}

function acceptBox() {
  const box = chosenBox();
  if (!box) return;
  if (box.accepted && photo().state.reviewed) return say(`Box ${app.selected + 1} is accepted already`);
  replaceBox(app.selected, {}, "accepted");
}

function nudge(right, down, sides) {
  const box = chosenBox();
  if (!box) return;
  const moved = dragged(box.box, sides, right, down);
  if (same(moved, box.box)) say(`Box ${app.selected + 1} cannot go further`);
  else replaceBox(app.selected, { box: moved }, "adjusted", true);
}

let leaving = false; // while the browser handles the change of a field, before it moves the focus on

function paintBoxes() {
  if (leaving) return;
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.part : undefined;
  const count = boxes().length;
  $("boxes-title").textContent = count === 1 ? "1 box" : `${count || "No"} boxes`;
  const empty = Object.assign(document.createElement("li"), { className: "nothing" });
  empty.textContent = app.current >= 0 && photo().state.reviewed ? "Reviewed: no object in this photo." : "Press n to draw a box, or a to confirm that there is none.";
  $("boxes").replaceChildren(...(count ? boxes().map(boxItem) : [empty]));
  if (focused) {
    const again = document.querySelector(`[data-part="${focused}"]`);
    if (again) again.focus();
    if (again && again.matches("input")) again.select();
  }
}

function boxItem(box, index) {
  const item = document.createElement("li");
  const chosen = index === app.selected;
  item.className = `box${chosen ? " chosen" : ""}`;
  item.innerHTML = '<button type="button"><i class="mark"></i><span class="what"><span></span><small></small></span>'
    + '<span class="score"></span></button>';
  const button = item.firstElementChild;
  const score = scoreOf(app.current, box);
  button.dataset.part = `box-${index}`;
  button.setAttribute("aria-pressed", String(chosen));
  button.querySelector(".mark").classList.add(kind(app.current, box));
  button.querySelector(".what span").textContent = `${index + 1}  ${box.label}`;
  button.querySelector("small").textContent = kindText(app.current, box);
  button.querySelector(".score").textContent = score === null ? "" : score.toFixed(2);
  button.addEventListener("click", () => select(chosen ? -1 : index));
  if (chosen) item.append(editor(box, index));
  return item;
}

function editor(box, index) {
  const form = document.createElement("div");
  form.className = "edit";
  const [x0, y0, x1, y1] = box.box;
  const add = (text, input, name, wide) => {
    const label = document.createElement("label");
    label.className = wide ? "wide" : "";
    input.dataset.part = name;
    label.append(text, input);
    form.append(label);
  };
  const classes = document.createElement("select");
  classes.append(...app.classes.map((name) => new Option(name, name, false, name === box.label)));
  classes.addEventListener("change", () => {
    app.lastClass = classes.value;
    replaceBox(index, { label: classes.value }, `is ${classes.value} now`, true); // with the arrow keys it changes at each of them
  });
  add("Class", classes, "class", true);
  const rounded = (value) => Math.round(value * 100) / 100;
  const numbers = { left: x0, top: y0, width: rounded(x1 - x0), height: rounded(y1 - y0) };
  const inputs = Object.fromEntries(Object.entries(numbers).map(([name, value]) => {
    const input = Object.assign(document.createElement("input"), { type: "number", min: "0", step: "any", defaultValue: String(value) });
    input.addEventListener("change", () => {
      leaving = true;
      typed();
      leaving = false;
      setTimeout(paintBoxes);
    });
    add(name, input, name);
    return [name, input];
  }));
  const typed = () => {
    const [left, top, width, height] = ["left", "top", "width", "height"].map((name) => rounded(Number(inputs[name].value)));
    const changed = [left, top, rounded(left + width), rounded(top + height)];
    const fits = changed[2] > left && changed[3] > top && left >= 0 && top >= 0 && changed[2] <= photo().size[0] && changed[3] <= photo().size[1];
    if (fits) return replaceBox(index, { box: changed }, "adjusted");
    tell(`The box must be inside the photo (${photo().size.join(" × ")} pixels).`);
  };
  const buttons = document.createElement("div");
  buttons.className = "do";
  for (const [text, key, work] of [["Accept", "⏎", acceptBox], ["Delete", "d", deleteBox]]) {
    const button = Object.assign(document.createElement("button"), { type: "button", disabled: text === "Accept" && box.accepted });
    button.dataset.part = text.toLowerCase();
    const shown = Object.assign(document.createElement("kbd"), { textContent: key });
    button.append(text, shown);
    button.addEventListener("click", work);
    buttons.append(button);
  }
  form.append(buttons);
  return form;
}
