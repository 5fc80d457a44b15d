// The state shared by all parts: threshold, minimum score, layers, filter and order.

const byId = (id) => document.getElementById(id);
const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
const numberWords = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));
const counted = (count, one, several) => `${count.toLocaleString("en")} ${count === 1 ? one : several}`;

const NOTHING = "reviewed: nothing there";

function start() {
  const app = byId("photo-app");
  const data = readData(JSON.parse(byId("photo-data").textContent));
  const own = data.rule.threshold ?? 0.5;
  const state = {
    threshold: own,
    least: null, // the minimum score of a box; null: as predicted, which may differ between photos
    layers: { heat: false, mask: true, boxes: true, truth: true },
    filter: { ...NO_FILTER },
    order: { key: data.table.includes("iou") ? "iou" : "doubt", down: false },
    listed: [],
    version: 0,
  };
  const measured = data.table.includes("iou");
  const doubts = (row) => row.why.map((kind) => data.doubts[kind][0]);
  const className = (label) => (label < 0 ? "–" : data.classes[label]);
  const found = (row) => foundIn(row, state, data);
  const withPicture = () => state.listed.filter((row) => row.photo);

  async function draw(row, canvas, side, tags) {
    const version = (canvas.version = (canvas.version ?? 0) + 1);
    const image = await pictureOf(row.photo);
    if (canvas.version === version) drawPhoto(canvas, row.photo, image, found(row), state.layers, data.heat, side, tags);
    canvas.classList.toggle("drawn", true);
  }

  const gallery = new Gallery(app, {
    open: (row) => viewer.open(row),
    draw: (row, canvas) => void draw(row, canvas, Math.min(640, 320 * Math.ceil(devicePixelRatio || 1)), false),
    caption: (row) => {
      const now = found(row);
      const boxes = now ? counted(now.boxes.length, "box", "boxes") : "";
      if (row.reviewed) {
        const said = row.boxes ? `${className(row.predicted)} · reviewed, ${counted(row.boxes, "box", "boxes")}` : NOTHING;
        return { value: row.name, words: said, why: "", name: `${row.id}: ${said}` };
      }
      const instead = wrongClass(row) ? ` instead of ${className(row.label)}` : "";
      const sure = row.probability === null ? "" : ` ${row.probability.toFixed(2)}`;
      const words = `${row.iou === null ? "" : `measured ${row.iou.toFixed(2)} · `}${className(row.predicted)}${sure}${instead}`;
      const value = now?.iou === null || !now ? boxes : `IoU ${now.iou.toFixed(2)}`;
      if (!measured && now?.iou == null) { // only the prediction is known for this photo
        const best = now ? (now.scores.length ? `best box ${Math.max(...now.scores).toFixed(2)}` : "no box") : "";
        const said = [`${className(row.predicted)}${instead}`, best].filter(Boolean).join(" · ");
        const why = doubts(row).join(" · ");
        return { value: row.name, words: said, why, name: [`${row.id}: ${said}`, boxes, why].filter(Boolean).join(", ") };
      }
      const why = measured ? "" : doubts(row).join(" · ");
      return { value, words, why, name: [`${row.id}: ${words}`, value, boxes, why].filter(Boolean).join(", ") };
    },
  });

  const viewer = new Viewer(byId("photo-view"), {
    around: withPicture,
    draw: (row, canvas) => void draw(row, canvas, 960, true),
    facts: (row) => {
      const now = found(row);
      const none = data.background >= 0 && row.predicted === data.background;
      const facts = [[row.reviewed ? "Class" : "Predicted", `${className(row.predicted)}${wrongClass(row) ? ": wrong" : ""}`], [measured ? "True class" : "Given class", className(row.label)]];
      if (row.probability !== null) facts.push(["Probability", row.probability.toFixed(2)]);
      if (row.reviewed) facts.push(["Reviewed", row.boxes ? "the boxes are those of the person who reviewed it" : "nothing is there"]);
      if (row.why.length) facts.push(["Look at it", row.why.map((kind) => data.doubts[kind].join(": ")).join("; ")]);
      if (row.part >= 0) facts.push(["Part of the data", data.parts[row.part]]);
      if (now) facts.push(["Boxes here", none && !row.reviewed ? "none: the predicted class has no object" : String(now.boxes.length)]);
      if (measured || row.trueBoxes) facts.push(["Ground-truth boxes", String(row.trueBoxes)]);
      if (now && now.iou !== null) facts.push(["IoU here", now.iou.toFixed(2)]);
      if (row.iou !== null) facts.push(["IoU, measured", numberWords(row.iou)], ["Best IoU", numberWords(row.oracleIou)]);
      if (row.error >= 0) facts.push(["Kind of error", data.errors[row.error][0]]);
      if (row.photo) facts.push(["Size", `${row.photo.size[0]} × ${row.photo.size[1]} pixels`]);
      return facts;
    },
  });
  byId("photo-view").addEventListener("close", () => {
    const at = state.listed.indexOf(viewer.row);
    if (at >= 0) table.activate(at);
  });

  const cells = {
    id: (row) => ({ words: row.name, more: row.folder, kind: row.photo ? "pictured" : "" }),
    label: (row) => ({ words: className(row.label) }),
    predicted: (row) => ({ words: className(row.predicted), kind: wrongClass(row) ? "wrong" : "" }),
    trueBoxes: (row) => ({ words: String(row.trueBoxes), kind: "number" }),
    iou: (row) => ({ words: numberWords(row.iou), kind: "number" }),
    oracleIou: (row) => ({ words: numberWords(row.oracleIou), kind: "number" }),
    error: (row) => ({ words: row.error < 0 ? "–" : data.errors[row.error][0] }),
    now: (row) => ({ words: numberWords(found(row)?.iou), kind: "number" }),
    probability: (row) => ({ words: numberWords(row.probability), kind: "number" }),
    boxes: (row) => ({ words: row.boxes === null ? "–" : String(row.boxes), kind: "number" }),
    score: (row) => ({ words: numberWords(row.score), kind: "number" }),
    doubt: (row) => ({ words: row.reviewed ? (row.boxes ? "reviewed" : NOTHING) : doubts(row).join(", ") || "–" }),
  };
  const table = new PhotoTable(
    byId("photo-table"), (row) => data.table.map((key) => cells[key](row)), (row) => viewer.open(row),
  );

  /** Update the list of rows. */
  function list() {
    const passed = filtered(data.rows, state.filter, found, data.background);
    state.listed = sorted(passed, state.order, found);
    const pictured = withPicture();
    table.show(state.listed);
    gallery.show(pictured);
    const all = data.rows.length.toLocaleString("en");
    const some = state.listed.length === data.rows.length ? (data.rows.length === 1 ? "One photo" : `All ${all} photos`) : `${state.listed.length.toLocaleString("en")} of ${all} photos`;
    byId("photo-listed").textContent = `${some}, ${pictured.length.toLocaleString("en")} with a picture.`;
    byId("photo-none").hidden = pictured.length > 0 || !data.photos.length;
    each("#photo-table th[data-key]", (head) => {
      const mine = head.dataset.key === state.order.key;
      head.setAttribute("aria-sort", mine ? (state.order.down ? "descending" : "ascending") : "none");
    });
    byId("photo-order").value = `${state.order.key}:${state.order.down ? "down" : "up"}`;
  }

  function redraw() {
    gallery.redraw();
    viewer.render();
  }

  /** Process all photos after a slider change, in short pieces, so that the page stays responsive. */
  async function settle() {
    if (!data.photos.length) return;
    const version = ++state.version;
    const shown = data.rows.filter((row) => row.photo);
    let started = performance.now();
    for (const row of shown) {
      found(row);
      if (performance.now() - started < 8) continue;
      await new Promise((done) => setTimeout(done));
      if (version !== state.version) return;
      started = performance.now();
    }
    const ious = shown.map((row) => found(row)?.iou ?? null).filter((iou) => iou !== null);
    const right = ious.filter((iou) => iou >= 0.5).length;
    const counts = shown.map((row) => found(row)?.boxes.length ?? 0);
    const boxes = counts.reduce((sum, count) => sum + count, 0), photos = counts.filter(Boolean).length;
    const said = [`${counted(boxes, "box", "boxes")} in ${photos.toLocaleString("en")} of ${counted(shown.length, "shown photo", "shown photos")}.`];
    if (ious.length) said.unshift(`${right} of ${ious.length} shown photos with ground-truth boxes have a box with IoU ≥ 0.5 (${((100 * right) / ious.length).toFixed(1)} %).`);
    const known = data.rows.every((row) => row.boxes !== null) && (state.least ?? 1) >= data.known; // the best score of each photo
    if (shown.length < data.rows.length && state.threshold === own && !measured && known) {
      const all = data.rows.filter((row) => row.boxes > 0 && (row.reviewed || state.least === null || row.score >= state.least)).length;
      said.push(`Of all ${counted(data.rows.length, "photo", "photos")} ${all.toLocaleString("en")} ${all === 1 ? "has" : "have"} a box.`);
    }
    byId("photo-count").textContent = said.join(" ");
    if (state.filter.boxes || state.order.key === "now") list();
    else table.render();
  }

  function setThreshold(value) {
    state.threshold = Math.min(1, Math.max(0, Math.round(value * 1000) / 1000));
    if (Math.abs(state.threshold - own) < 5e-4) state.threshold = own;
    each("[data-threshold]", (slider) => {
      slider.value = state.threshold;
      slider.setAttribute("aria-valuetext", `${state.threshold.toFixed(3)} of the map's maximum`);
    });
    each("[data-threshold-now]", (output) => (output.textContent = state.threshold.toFixed(3)));
    each("[data-reset=threshold]", (button) => button.setAttribute("aria-disabled", state.threshold === own));
    changed();
  }

  /** Set the minimum score of a box; null restores each photo's own. */
  function setLeast(value) {
    state.least = value === null ? null : Math.min(1, Math.max(0, Math.round(value * 1000) / 1000));
    const one = data.photos.every((photo) => photo.min_score === data.rule.min_score); // all photos are whole, or all are tiled
    const words = state.least === null && !one ? "varies" : (state.least ?? data.rule.min_score ?? 0).toFixed(3);
    each("[data-least]", (slider) => {
      slider.value = state.least ?? data.rule.min_score ?? 0;
      slider.setAttribute("aria-valuetext", state.least === null ? "as predicted" : `boxes that score ${words} or more`);
    });
    each("[data-least-now]", (output) => (output.textContent = words));
    each("[data-reset=least]", (button) => button.setAttribute("aria-disabled", state.least === null));
    changed();
  }

  function changed() {
    const options = state.least === null || state.threshold !== own ? [`--threshold ${state.threshold.toFixed(3)}`] : [];
    if (state.least !== null) options.push(`--min-score ${state.least}`);
    each("[data-command]", (code) => (code.textContent = data.command.replace("{}", options.join(" "))));
    state.frame ??= requestAnimationFrame(() => {
      state.frame = undefined;
      redraw();
      void settle();
    });
  }

  function wire() {
    for (const [selector, set] of [["[data-threshold]", setThreshold], ["[data-least]", setLeast]]) {
      each(selector, (slider) => {
        slider.addEventListener("input", () => set(Number(slider.value)));
        slider.addEventListener("keydown", (event) => {
          const step = { ArrowLeft: -0.01, ArrowDown: -0.01, ArrowRight: 0.01, ArrowUp: 0.01 }[event.key];
          if (!step) return;
          set(Number(slider.value) + (event.shiftKey ? step / 10 : step));
          event.preventDefault();
        });
      });
    }
    each("[data-reset=threshold]", (button) => button.addEventListener("click", () => setThreshold(own)));
    each("[data-reset=least]", (button) => button.addEventListener("click", () => setLeast(null)));
    each("[data-layer]", (box) => box.addEventListener("change", () => {
      state.layers[box.dataset.layer] = box.checked;
      each(`[data-layer="${box.dataset.layer}"]`, (other) => (other.checked = box.checked));
      redraw();
    }));
    document.addEventListener("keydown", (event) => {
      if (event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && !["range", "checkbox"].includes(event.target.type)) return;
      if (event.key === "[" || event.key === "]") {
        setThreshold(state.threshold + (event.key === "[" ? -0.01 : 0.01));
        event.preventDefault();
      }
    });
    each("[data-filter]", (control) => control.addEventListener("input", () => {
      state.filter[control.dataset.filter] = control.type === "checkbox" ? control.checked : control.value;
      list();
    }));
    byId("photo-clear").addEventListener("click", () => {
      state.filter = { ...NO_FILTER };
      each("[data-filter]", (control) => (control.type === "checkbox" ? (control.checked = false) : (control.value = "")));
      list();
    });
    byId("photo-order").addEventListener("input", (event) => {
      const [key, way] = event.target.value.split(":");
      state.order = { key, down: way === "down" };
      list();
    });
    each("#photo-table th[data-key]", (head) => head.querySelector("button").addEventListener("click", () => {
      const { key } = head.dataset;
      state.order = { key, down: state.order.key === key && !state.order.down };
      list();
    }));
  }

  function fill(name, words, first) {
    each(`[data-filter="${name}"]`, (select) => {
      const options = words.map((text, value) => new Option(text, value));
      select.replaceChildren(new Option(first, ""), ...options);
      select.closest("label").hidden = !words.length;
    });
  }

  fill("label", data.classes, "any");
  fill("predicted", data.classes, "any");
  fill("error", data.errors.map(([name]) => name), "any");
  fill("part", data.parts, "any");
  fill("doubt", data.doubts.map(([name]) => name), "any photo");
  each("[data-filter=doubt]", (select) => select.options[0].after(new Option("any of these", "any")));
  wire();
  app.hidden = false;
  list();
  setThreshold(own);
  setLeast(null);
  const unpacked = Promise.all(data.photos.map(unpack)).then(() => {
    redraw();
    return settle();
  }).catch((error) => {
    byId("photo-count").textContent = "This browser cannot unpack the score maps; use a newer one.";
    throw error;
  });
  window.dipsReport = { boxesFromMap, bestIou, data, state, gallery, table, viewer, ready: unpacked };
}

if (byId("photo-data")) start();
