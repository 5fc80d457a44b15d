// The objects of a score map, as found by dips.scoremaps.levels.boxes_from_map, to the last digit: the tests compare the two.

/**
 * @param {Uint8Array} levels map of height x width, 255 for a score of 1
 * @returns {{boxes: number[][], scores: number[], regions: Uint16Array}} boxes x0 y0 x1 y1 in cells, end exclusive, best first;
 *   regions: i + 1 on the cells of box i
 */
function boxesFromMap(levels, width, height, threshold, minArea, maxBoxes, minScore = 0) {
  const labels = new Int32Array(width * height);
  const objects = components(levels, width, height, cutOf(peakOf(levels), threshold), labels);
  const sums = new Float64Array(objects.length + 1);
  for (let i = 0; i < labels.length; i++) sums[labels[i]] += levels[i] / 255; // row by row: the order affects the last digit
  const areas = objects.map(({ box }) => (box[2] - box[0]) * (box[3] - box[1]));
  let kept = objects.filter((_, i) => areas[i] >= minArea * labels.length);
  if (!kept.length && objects.length) kept = [objects[areas.indexOf(Math.max(...areas))]];
  for (const object of kept) object.score = sums[object.number] / object.cells;
  kept = kept.filter(({ score }) => score >= minScore).sort((a, b) => b.score - a.score).slice(0, maxBoxes);
  const numbers = new Uint16Array(objects.length + 1);
  kept.forEach((object, i) => (numbers[object.number] = i + 1));
  const regions = new Uint16Array(labels.length);
  for (let i = 0; i < labels.length; i++) regions[i] = numbers[labels[i]];
  return { boxes: kept.map(({ box }) => box), scores: kept.map(({ score }) => Math.fround(score)), regions };
}

const LOGIT_MARGIN = 1e-4; // as in dips.scoremaps.calibration

/** The probability that a box is right, from the mean of the score map over it; without a calibration the mean itself. */
function chanceOf(mean, calibration) {
  if (!calibration) return mean;
  const inside = Math.min(Math.max(mean, LOGIT_MARGIN), 1 - LOGIT_MARGIN);
  return 1 / (1 + Math.exp(-calibration.slope * Math.log(inside / (1 - inside)) - calibration.offset));
}

function peakOf(levels) {
  let peak = 0;
  for (let i = 0; i < levels.length; i++) if (levels[i] > peak) peak = levels[i];
  return peak;
}

/** The highest background level in a map with this maximum level. */
function cutOf(peak, threshold) {
  const limit = threshold * (peak / 255);
  let cut = 0;
  while (cut < 255 && !((cut + 1) / 255 > limit)) cut++;
  return cut;
}

/** 8-connected components, numbered from 1 in the order of their first block of 2 x 2 cells, like OpenCV. */
function components(levels, width, height, cut, labels) {
  const objects = [];
  const stack = new Int32Array(width * height);
  const fill = (start) => {
    const object = { number: objects.length + 1, box: [width, height, 0, 0], cells: 0 };
    let size = 1;
    stack[0] = start;
    labels[start] = object.number;
    while (size) {
      const at = stack[--size];
      const x = at % width, y = (at - x) / width;
      const box = object.box, bottom = Math.min(height - 1, y + 1), right = Math.min(width - 1, x + 1);
      object.cells++;
      if (x < box[0]) box[0] = x;
      if (y < box[1]) box[1] = y;
      if (x >= box[2]) box[2] = x + 1;
      if (y >= box[3]) box[3] = y + 1;
      for (let v = Math.max(0, y - 1); v <= bottom; v++) {
        for (let u = Math.max(0, x - 1); u <= right; u++) {
          const next = v * width + u;
          if (levels[next] > cut && !labels[next]) {
            labels[next] = object.number;
            stack[size++] = next;
          }
        }
      }
    }
    objects.push(object);
  };
  for (let top = 0; top < height; top += 2) {
    for (let left = 0; left < width; left += 2) {
      for (let y = top; y < Math.min(top + 2, height); y++) {
        for (let x = left; x < Math.min(left + 2, width); x++) {
          const at = y * width + x;
          if (levels[at] > cut && !labels[at]) fill(at);
        }
      }
    }
  }
  return objects;
}

/** The best IoU of any two boxes, end exclusive; 0 if nothing was found. */
function bestIou(found, truth) {
  let best = 0;
  for (const a of found) {
    for (const b of truth) {
      const wide = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), high = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
      if (wide <= 0 || high <= 0) continue;
      const shared = wide * high;
      const both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared;
      best = Math.max(best, shared / both);
    }
  }
  return best;
}
