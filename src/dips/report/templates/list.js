// The listed photos and their order.

const NO_FILTER = { text: "", iou: "", label: "", predicted: "", error: "", boxes: "", doubt: "", part: "", wrong: false };

const wrongClass = (row) => !row.reviewed && row.label >= 0 && row.predicted >= 0 && row.label !== row.predicted;

/** The rows that pass a filter; `found(row)` returns the objects in a photo at the current threshold. */
function filtered(rows, filter, found, background) {
  const text = filter.text.trim().toLowerCase();
  const [low, high] = filter.iou.includes(":") ? filter.iou.split(":").map(Number) : [-1, 2];
  const tests = [];
  if (text) tests.push((row) => row.search.includes(text));
  if (filter.iou === "none") tests.push((row) => row.iou === null);
  else if (filter.iou) tests.push((row) => row.iou !== null && row.iou >= low && row.iou < high);
  for (const key of ["label", "predicted", "error", "part"]) {
    if (filter[key] !== "") tests.push((row) => row[key] === Number(filter[key]));
  }
  if (filter.doubt === "any") tests.push((row) => row.why.length > 0);
  else if (filter.doubt !== "") tests.push((row) => row.why.includes(Number(filter.doubt)));
  if (filter.wrong) tests.push(wrongClass);
  const count = (row) => found(row)?.boxes.length ?? (background >= 0 && row.predicted === background ? 0 : NaN);
  if (filter.boxes === "none") tests.push((row) => count(row) === 0);
  if (filter.boxes === "several") tests.push((row) => count(row) > 1);
  return rows.filter((row) => tests.every((test) => test(row)));
}

/** The rows sorted by a column; those without a value come last in either direction. */
function sorted(rows, { key, down }, found) {
  const value = key === "id" ? (row) => row.rank : key === "now" ? (row) => found(row)?.iou : (row) => row[key];
  const number = (row) => {
    const got = value(row) ?? NaN;
    return got < 0 ? NaN : got;
  };
  const keyed = rows.map((row) => [number(row), row]);
  keyed.sort(([a, one], [b, other]) => {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b) || one.place - other.place;
    return (down ? b - a : a - b) || one.place - other.place;
  });
  return keyed.map(([, row]) => row);
}
