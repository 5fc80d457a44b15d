// The page's data: a row per photo, and for some photos a picture with its score map.

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function readData(data) {
  const photos = data.photos.map((photo) => ({ ...photo, levels: null, top: 0, found: null, cut: -1, drawn: "", heat: null, image: null }));
  const rows = data.rows.map((values, place) => {
    const row = Object.fromEntries(data.columns.map((name, i) => [name, values[i]]));
    const name = row.id.slice(row.id.lastIndexOf("/") + 1);
    return { ...row, place, name, folder: row.id.slice(0, row.id.length - name.length), search: row.id.toLowerCase(), photo: photos[row.photo] ?? null };
  });
  const collator = new Intl.Collator(undefined, { numeric: true });
  [...rows].sort((a, b) => collator.compare(a.id, b.id)).forEach((row, rank) => (row.rank = rank));
  const heat = bytesOf(data.heat);
  return { ...data, rows, photos, heat };
}

/** Unpack a photo's score map: deflated differences along its rows. */
async function unpack(photo) {
  const packed = new Blob([bytesOf(photo.map)]).stream();
  const levels = new Uint8Array(await new Response(packed.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
  const [height, width] = photo.shape;
  for (let i = 0; i < height * width; i++) if (i % width) levels[i] += levels[i - 1]; // modulo 256, as these are bytes
  photo.map = null;
  photo.top = peakOf(levels);
  photo.levels = levels;
}

/** The objects found in a row's photo at a threshold and a minimum score (null: the photo's own); null until its map is unpacked. */
function foundIn(row, { threshold, least }, data) {
  const { photo } = row;
  if (!photo?.levels) return null;
  const [height, width] = photo.shape;
  if (row.reviewed) { // the boxes are a person's, regardless of the map and the sliders
    if (!photo.drawn) Object.assign(photo, { drawn: "reviewed", cut: 0, found: reviewedIn(photo) });
    return photo.found;
  }
  const cut = cutOf(photo.top, threshold);
  const { min_area: area, min_score: own } = photo; // different for tiled photos and whole ones
  const lowest = least ?? own, gate = data.calibration?.gate ?? 0;
  const isGated = least !== null && least < gate && photo.exact?.length === 0; // there may be a lower box that is not known yet
  const asPredicted = threshold === data.rule.threshold && lowest >= own && !isGated; // the boxes are known, while this map is small
  const exact = asPredicted ? photo.exact?.filter((box) => box[4] >= lowest) : null;
  const drawn = `${exact ? "exact" : cut} ${lowest}`;
  if (photo.drawn !== drawn) {
    const none = data.background >= 0 && row.predicted === data.background;
    const found = none
      ? { boxes: [], scores: [], regions: new Uint16Array(width * height) }
      : boxesFromMap(photo.levels, width, height, threshold, area, data.rule.max_boxes);
    found.scores = found.scores.map((score) => chanceOf(score * photo.peak, data.calibration));
    keepBest(found, exact ? own : lowest, exact ? exact.length > 0 : least !== null || found.scores[0] >= gate);
    const scale = [photo.size[0] / width, photo.size[1] / height];
    found.boxes = found.boxes.map((box) => box.map((value, i) => value * scale[i % 2]));
    if (exact) {
      if (exact.length < photo.exact.length) keepRegions(found, exact, photo.exact);
      found.boxes = exact.map((box) => box.slice(0, 4));
      found.scores = exact.map((box) => box[4]);
      found.names = exact.map((box) => box[5] ?? "");
    }
    found.iou = photo.boxes?.length ? bestIou(found.boxes, photo.boxes) : null;
    photo.cut = cut;
    photo.drawn = drawn;
    photo.found = found;
  }
  return photo.found;
}

/** Remove boxes with lower scores, or all boxes. */
function keepBest(found, lowest, any) {
  const count = any ? found.scores.filter((score) => score >= lowest).length : 0; // the best come first
  found.boxes = found.boxes.slice(0, count);
  found.scores = found.scores.slice(0, count);
  found.regions = found.regions.map((region) => (region > count ? 0 : region));
}

/** A person's boxes in a photo, without scores or outline. */
function reviewedIn(photo) {
  const boxes = photo.exact.map((box) => box.slice(0, 4));
  return { boxes, scores: [], names: photo.exact.map((box) => box[5] ?? ""), regions: new Uint16Array(photo.levels.length), iou: null };
}

/** Remove the regions of the small map whose box, among all predicted ones, is closest to one that is not kept. */
function keepRegions(found, kept, all) {
  const left = all.filter((box) => !kept.includes(box));
  const keeps = [true, ...found.boxes.map((box) => bestIou([box], kept) > bestIou([box], left))];
  found.regions = found.regions.map((region) => (keeps[region] ? region : 0));
}

/** The decoded picture of a photo. */
function pictureOf(photo) {
  photo.image ??= new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("a picture cannot be decoded"));
    image.src = `data:image/jpeg;base64,${photo.jpeg}`;
  });
  return photo.image;
}
