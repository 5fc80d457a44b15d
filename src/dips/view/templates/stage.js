"use strict";
// The photo on the canvas with its boxes: drawing, zoom, the mouse.

const canvas = $("canvas");
const pen = canvas.getContext("2d");
const COLOURS = { predicted: "#ffb000", accepted: "#37e08e", changed: "#6cbcff" };
const REACH = 7; // screen pixels around an edge within which it can be dragged
const stage = { image: null, scale: 1, x: 0, y: 0, fitted: true, drawing: false, hidden: false, drag: null, pointer: null };

function fitScale() {
  const [width, height] = photo().size;
  return Math.min((canvas.clientWidth - 36) / width, (canvas.clientHeight - 36) / height);
}

function fit() {
  if (app.current < 0) return;
  const [width, height] = photo().size;
  stage.scale = Math.max(fitScale(), 1e-4);
  stage.x = (canvas.clientWidth - width * stage.scale) / 2;
  stage.y = (canvas.clientHeight - height * stage.scale) / 2;
  stage.fitted = true;
  paint();
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  if (app.current < 0) return;
  const smallest = fitScale();
  const scale = Math.min(Math.max(stage.scale * factor, smallest), Math.max(16, smallest));
  if (scale === smallest) return fit();
  stage.x = x - (x - stage.x) * (scale / stage.scale);
  stage.y = y - (y - stage.y) * (scale / stage.scale);
  stage.scale = scale;
  stage.fitted = false;
  keepInView();
  paint();
}

function keepInView() {
  const [width, height] = photo().size.map((side) => side * stage.scale);
  const margin = 60;
  stage.x = Math.min(Math.max(stage.x, margin - width), canvas.clientWidth - margin);
  stage.y = Math.min(Math.max(stage.y, margin - height), canvas.clientHeight - margin);
}

function onScreen(box) {
  return [box[0] * stage.scale + stage.x, box[1] * stage.scale + stage.y, box[2] * stage.scale + stage.x, box[3] * stage.scale + stage.y];
}

function inPhoto(x, y) {
  const [width, height] = photo().size;
  const clamp = (value, limit) => Math.min(Math.max(Math.round(value), 0), limit);
  return [clamp((x - stage.x) / stage.scale, width), clamp((y - stage.y) / stage.scale, height)];
}

let planned = false;
function paint() {
  if (!planned) requestAnimationFrame(() => { planned = false; paintNow(); });
  planned = true;
}

function paintNow() {
  const ratio = devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  if (app.current < 0) return;
  const [x0, y0, x1, y1] = onScreen([0, 0, ...photo().size]);
  pen.imageSmoothingEnabled = stage.scale < 4;
  pen.imageSmoothingQuality = "high";
  if (stage.image) pen.drawImage(stage.image, x0, y0, x1 - x0, y1 - y0);
  else { pen.fillStyle = "#8883"; pen.fillRect(x0, y0, x1 - x0, y1 - y0); }
  $("scale").textContent = `${Math.round(stage.scale * 100)} %`;
  if (!stage.hidden) {
    boxes().forEach((box, index) => index !== app.selected && paintBox(box, index));
    if (boxes()[app.selected]) paintBox(boxes()[app.selected], app.selected);
  }
  if (stage.drawing) paintCross();
}

function paintBox(box, index) {
  const drag = stage.drag;
  const chosen = index === app.selected;
  const now = drag && drag.index === index ? drag.box : box.box;
  const colour = COLOURS[drag && drag.index === index && drag.moved ? "changed" : kind(app.current, box)];
  const [x0, y0, x1, y1] = onScreen(now);
  pen.setLineDash([]);
  pen.lineWidth = chosen ? 5 : 4;
  pen.strokeStyle = "rgba(0,0,0,.6)";
  pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  pen.setLineDash(colour === COLOURS.predicted ? [9, 5] : []);
  pen.lineWidth = chosen ? 3 : 2;
  pen.strokeStyle = colour;
  pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  pen.setLineDash([]);
  paintTag(box, index, colour, x0, y0, y1);
  if (!chosen) return;
  for (const [x, y] of handles(x0, y0, x1, y1)) {
    pen.fillStyle = "#fff";
    pen.strokeStyle = "#111";
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.rect(x - 4.5, y - 4.5, 9, 9);
    pen.fill();
    pen.stroke();
  }
}

function handles(x0, y0, x1, y1) {
  const x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  return [[x0, y0], [x, y0], [x1, y0], [x1, y], [x1, y1], [x, y1], [x0, y1], [x0, y]];
}

function paintTag(box, index, colour, x0, y0, y1) {
  const score = scoreOf(app.current, box);
  const parts = [`${index + 1}`, app.classes.length > 1 ? box.label : "", score === null ? "" : score.toFixed(2)];
  const text = parts.filter(Boolean).join("  ") + (box.accepted ? "  ✓" : "");
  pen.font = '600 12px system-ui, "Segoe UI", Roboto, Arial, sans-serif';
  const width = pen.measureText(text).width + 12;
  const x = Math.min(Math.max(x0 - 1, 2), Math.max(canvas.clientWidth - width - 2, 2));
  let y = y0 - 23;
  if (y < 2) y = y1 + 24 < canvas.clientHeight ? y1 + 4 : Math.max(y0, 0) + 4;
  pen.fillStyle = colour;
  pen.beginPath();
  pen.roundRect(x, y, width, 19, 4);
  pen.fill();
  pen.strokeStyle = "rgba(0,0,0,.5)";
  pen.lineWidth = 1;
  pen.stroke();
  pen.fillStyle = "#111";
  pen.fillText(text, x + 6, y + 13.5);
}

function paintCross() {
  if (stage.drag && stage.drag.kind === "new" && stage.drag.box) {
    const [x0, y0, x1, y1] = onScreen(stage.drag.box);
    pen.fillStyle = "rgba(108,188,255,.22)";
    pen.fillRect(x0, y0, x1 - x0, y1 - y0);
    pen.lineWidth = 2;
    pen.strokeStyle = COLOURS.changed;
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  } else if (stage.pointer) {
    const [x, y] = stage.pointer;
    pen.lineWidth = 1;
    for (const [colour, offset] of [["rgba(0,0,0,.6)", 1], ["#fff", 0]]) {
      pen.strokeStyle = colour;
      pen.beginPath();
      pen.moveTo(x + 0.5 + offset, 0);
      pen.lineTo(x + 0.5 + offset, canvas.clientHeight);
      pen.moveTo(0, y + 0.5 + offset);
      pen.lineTo(canvas.clientWidth, y + 0.5 + offset);
      pen.stroke();
    }
  }
}

// Returns the box under the pointer, and which of its sides (-1 left or top, 1 right or bottom, 0 neither).
function hit(x, y) {
  if (stage.hidden) return null;
  const order = boxes().map((_, index) => index);
  const size = (index) => (boxes()[index].box[2] - boxes()[index].box[0]) * (boxes()[index].box[3] - boxes()[index].box[1]);
  order.sort((one, other) => (other === app.selected) - (one === app.selected) || size(one) - size(other));
  let inside = null;
  for (const index of order) {
    const [x0, y0, x1, y1] = onScreen(boxes()[index].box);
    if (x < x0 - REACH || x > x1 + REACH || y < y0 - REACH || y > y1 + REACH) continue;
    const side = (value, low, high) => {
      const [first, last] = [Math.abs(value - low), Math.abs(value - high)];
      return Math.min(first, last) > REACH ? 0 : first < last ? -1 : 1;
    };
    const sides = [side(x, x0, x1), side(y, y0, y1)];
    if (sides[0] || sides[1]) return { index, sides };
    if (!inside) inside = { index, sides };
  }
  return inside;
}

function cursor(found) {
  if (stage.drawing) return "crosshair";
  if (!found) return stage.fitted ? "default" : "grab";
  const [x, y] = found.sides;
  return !x && !y ? "move" : !x ? "ns-resize" : !y ? "ew-resize" : x === y ? "nwse-resize" : "nesw-resize";
}

function place(event) {
  const area = canvas.getBoundingClientRect();
  return [event.clientX - area.left, event.clientY - area.top];
}

canvas.addEventListener("pointerdown", (event) => {
  if (app.current < 0 || stage.drag || (event.button !== 0 && event.button !== 1)) return;
  event.preventDefault();
  backToPhoto();
  const [x, y] = place(event);
  const found = stage.drawing || event.button === 1 ? null : hit(x, y);
  stage.drag = { x, y, moved: false, index: -1 };
  if (stage.drawing && event.button === 0) Object.assign(stage.drag, { kind: "new", from: inPhoto(x, y), box: null });
  else if (found) {
    select(found.index);
    const box = boxes()[found.index].box;
    Object.assign(stage.drag, { kind: "box", index: found.index, sides: found.sides, before: box, box });
  } else {
    if (event.button === 0) select(-1);
    Object.assign(stage.drag, { kind: "photo", left: stage.x, top: stage.y });
  }
  canvas.setPointerCapture(event.pointerId);
});

canvas.addEventListener("pointermove", (event) => {
  const [x, y] = place(event);
  stage.pointer = [x, y];
  const drag = stage.drag;
  if (!drag) {
    if (app.current >= 0) canvas.style.cursor = cursor(hit(x, y));
    if (stage.drawing) paint();
    return;
  }
  if (Math.hypot(x - drag.x, y - drag.y) >= 3) drag.moved = true;
  if (!drag.moved) return;
  if (drag.kind === "photo") {
    [stage.x, stage.y] = [drag.left + x - drag.x, drag.top + y - drag.y];
    stage.fitted = false;
    keepInView();
  } else if (drag.kind === "new") {
    const [first, last] = [drag.from, inPhoto(x, y)];
    drag.box = [Math.min(first[0], last[0]), Math.min(first[1], last[1]), Math.max(first[0], last[0]), Math.max(first[1], last[1])];
  } else {
    drag.box = dragged(drag.before, drag.sides, (x - drag.x) / stage.scale, (y - drag.y) / stage.scale);
  }
  paint();
});

// Returns a box with its dragged sides moved, or all of it if no side is dragged. Whole pixels, inside the photo, never empty.
function dragged(box, sides, right, down) {
  const moved = [...box];
  [right, down].forEach((way, axis) => {
    const most = photo().size[axis];
    if (!sides[0] && !sides[1]) {
      const length = box[axis + 2] - box[axis];
      const start = Math.round(box[axis] + way);
      moved[axis] = Math.min(Math.max(start, 0), most - length);
      moved[axis + 2] = moved[axis] + length;
    } else if (sides[axis] < 0) {
      moved[axis] = Math.max(0, Math.min(Math.round(box[axis] + way), Math.ceil(box[axis + 2]) - 1));
    } else if (sides[axis] > 0) {
      moved[axis + 2] = Math.min(most, Math.max(Math.round(box[axis + 2] + way), Math.floor(box[axis]) + 1));
    }
  });
  return moved;
}

function endDrag(keep) {
  const drag = stage.drag;
  stage.drag = null;
  if (drag && keep && drag.kind === "box" && drag.moved) endBox(drag);
  if (drag && keep && drag.kind === "new") {
    if (drag.box && drag.box[2] > drag.box[0] && drag.box[3] > drag.box[1]) addBox(drag.box);
    else say("No box drawn: drag from one corner of the object to the opposite one");
  }
  paint();
}

function endBox(drag) {
  const now = boxes()[drag.index];
  if (!now || !same(now.box, drag.before)) say("The box was changed meanwhile and is left as it is"); // by an undo, or in another window
  else if (!same(drag.box, drag.before)) replaceBox(drag.index, { box: drag.box }, "adjusted");
}

canvas.addEventListener("pointerup", () => endDrag(true));
canvas.addEventListener("pointercancel", () => endDrag(false));
canvas.addEventListener("pointerleave", () => { stage.pointer = null; paint(); });
canvas.addEventListener("dblclick", (event) => { if (!hit(...place(event))) fit(); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 16 : 1;
  zoom(Math.exp(-event.deltaY * lines * 0.0016), ...place(event));
}, { passive: false });
new ResizeObserver(() => (stage.fitted ? fit() : paint())).observe(canvas);

function backToPhoto() {
  canvas.focus({ focusVisible: false, preventScroll: true });
}

function setDrawing(on) {
  stage.drawing = on;
  $("draw").setAttribute("aria-pressed", String(on));
  $("mode").hidden = !on;
  canvas.style.cursor = on ? "crosshair" : "default";
  if (on) { stage.hidden = false; backToPhoto(); }
  paint();
}
