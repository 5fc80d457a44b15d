// A photo with its score map, the outline of the mask and boxes; colours and opacity are those of dips.pictures.drawing.

const PREDICTED = "rgb(64,224,255)", TRUE = "rgb(150,255,90)", DARK = "rgb(12,14,18)", OUTLINE = "#fff";

/** Draw on a canvas, whose longer side becomes at most `side` pixels. Layers: which of heat, mask, boxes, truth to draw. */
function drawPhoto(canvas, photo, image, found, layers, colours, side, tags) {
  const scale = side / Math.max(image.naturalWidth, image.naturalHeight);
  const width = Math.max(1, Math.round(image.naturalWidth * scale)), height = Math.max(1, Math.round(image.naturalHeight * scale));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  if (!found) return;
  const line = Math.max(1.5, 1 + Math.min(width, height) / 240);
  if (layers.heat) context.drawImage(heatOf(photo, colours), 0, 0, width, height);
  if (layers.mask && found.boxes.length) {
    const path = outline(photo, found.regions, width, height);
    stroke(context, path, DARK, line / 2 + 1.5, []);
    stroke(context, path, OUTLINE, Math.max(1, line / 2), []);
  }
  const zoom = [width / photo.size[0], height / photo.size[1]];
  const onCanvas = (box) => box.map((value, i) => value * zoom[i % 2]);
  if (layers.truth) {
    for (const box of photo.boxes ?? []) strokeBox(context, onCanvas(box), TRUE, line, [4 * line, 3 * line]);
  }
  if (layers.boxes) {
    for (const box of [...found.boxes].reverse()) strokeBox(context, onCanvas(box), PREDICTED, line, []);
    if (tags) found.boxes.forEach((box, i) => {
      const words = [found.names?.[i], found.scores[i]?.toFixed(2)].filter(Boolean).join(" ");
      if (words) tag(context, onCanvas(box), words, line);
    });
  }
}

function stroke(context, path, colour, width, dashes) {
  context.setLineDash(dashes);
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.lineCap = context.lineJoin = dashes.length ? "butt" : "round";
  context.stroke(path);
}

function strokeBox(context, [x0, y0, x1, y1], colour, line, dashes) {
  const path = new Path2D();
  path.rect(x0 + line / 2, y0 + line / 2, Math.max(1, x1 - x0 - line), Math.max(1, y1 - y0 - line));
  stroke(context, path, DARK, line * 1.7, []);
  stroke(context, path, colour, line, dashes);
}

function tag(context, [x0, y0], words, line) {
  const size = Math.max(12, line * 5), room = size / 4;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const wide = context.measureText(words).width + 2 * room, high = size + room;
  const left = Math.max(0, Math.min(x0, context.canvas.width - wide)), top = y0 >= high ? y0 - high : y0;
  context.fillStyle = PREDICTED;
  context.fillRect(left, top, wide, high);
  context.fillStyle = DARK;
  context.fillText(words, left + room, top + high / 2 + 1);
}

/** The score map as a small transparent picture, more opaque for higher scores. */
function heatOf(photo, colours) {
  if (!photo.heat) {
    const [height, width] = photo.shape;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    photo.levels.forEach((level, i) => {
      const score = (level / 255) * photo.peak, colour = 3 * Math.round(score * 255);
      pixels.data.set([colours[colour], colours[colour + 1], colours[colour + 2], 255 * 0.62 * score ** 0.8], 4 * i);
    });
    context.putImageData(pixels, 0, 0);
    photo.heat = canvas;
  }
  return photo.heat;
}

/** The outline of the objects, between the cells (marching squares). */
function outline(photo, regions, width, height) {
  const path = new Path2D();
  const [rows, columns] = photo.shape;
  const iso = photo.cut + 0.5, wide = columns + 2;
  const values = new Uint8Array(wide * (rows + 2)); // with an empty border
  for (let y = 0, at = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, at++) {
      values[(y + 1) * wide + x + 1] = regions[at] ? photo.levels[at] : Math.min(photo.levels[at], photo.cut);
    }
  }
  const corners = [0, 1, wide + 1, wide]; // of a square of cells, clockwise
  for (let at = 0; at < values.length - wide - 1; at++) {
    const first = values[at] > iso;
    if (first === values[at + 1] > iso && first === values[at + wide] > iso && first === values[at + wide + 1] > iso) continue;
    const crossings = [];
    for (let i = 0; i < 4; i++) {
      const one = at + corners[i], other = at + corners[(i + 1) % 4], low = values[one], high = values[other];
      if (low > iso === high > iso) continue;
      const fraction = (iso - low) / (high - low);
      const x = (one % wide) * (1 - fraction) + (other % wide) * fraction - 0.5;
      const y = Math.floor(one / wide) * (1 - fraction) + Math.floor(other / wide) * fraction - 0.5;
      crossings.push([
        Math.min(Math.max((x * width) / columns, 0), width), Math.min(Math.max((y * height) / rows, 0), height),
      ]);
    }
    if (crossings.length === 4 && first) crossings.push(crossings.shift()); // two corners that touch belong together
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      path.moveTo(...crossings[i]);
      path.lineTo(...crossings[i + 1]);
    }
  }
  return path;
}
