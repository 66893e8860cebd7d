// One place to make a sample: draw, camera or files for images; table, recording or files for signals.

import { make } from "./dom.js";
import { pad } from "./pad.js";
import { camera } from "./camera.js";
import { listen, record } from "./sound.js";
import { Problem } from "./api.js";

const TYPES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", csv: "text/csv", wav: "audio/wav", npy: "application/x-npy" };
const SOUND = 256; // values per channel from which a signal may be sound
const LIVE = 350; // milliseconds between two looks while something moves
let groups = 0;

class Late extends Error {}

/**
 * `take(sample)` gets a finished sample; with `live` also what is drawn or seen while it changes. `failed(error)` gets
 * what went wrong, `verb` is what the button says. The result has `stop()`, to be called when it is taken away.
 */
export function capture(model, { take, failed, verb, live = false }) {
  const body = make("div");
  let stop = () => {};
  let turn = 0;
  const ways = model.kind === "image" ? { Draw: drawing, Camera: filming, Files: files } : { Table: table, ...(mayBeSound(model) ? { Record: recording } : {}), Files: files };
  const group = `way-${groups++}`;
  const chooser = make("fieldset", { class: "ways" }, make("legend", { hidden: true }, "How"),
    ...Object.keys(ways).map((name, i) => make("label", {},
      make("input", { type: "radio", name: group, value: name, checked: i === 0, onchange: () => show(name) }), name)));

  const guarded = (work) => async (...given) => {
    try {
      await work(...given);
    } catch (error) {
      if (!(error instanceof Late)) failed(error);
    }
  };

  function end() {
    turn += 1;
    stop();
    stop = () => {};
  }

  /** A device that a person allows, which may come too late: after another way was chosen. */
  async function lent(asked) {
    const before = turn;
    const device = await asked;
    if (turn === before) return device;
    device.stop();
    throw new Late();
  }

  function show(name) {
    end();
    body.replaceChildren();
    guarded(ways[name])();
  }

  function drawing() {
    const look = throttle(guarded(async () => !drawn.isEmpty() && take(await drawn.sample())));
    const drawn = pad(model.shape, () => live && look());
    const finish = guarded(async () => {
      if (drawn.isEmpty()) throw new Problem({ type: "blank-sample", title: "The drawing is blank", detail: "Draw something first." });
      await take(await drawn.sample());
      if (!live) drawn.clear();
      drawn.element.focus();
    });
    body.append(drawn.element, make("div", { class: "row" },
      live ? null : make("button", { type: "button", class: "primary", onclick: finish }, verb),
      make("button", { type: "button", onclick: () => { drawn.clear(); drawn.element.focus(); } }, "Clear")));
  }

  async function filming() {
    body.append(make("p", { class: "quiet" }, "Waiting for the camera …"));
    const eye = await lent(camera(model.shape));
    stop = eye.stop;
    body.replaceChildren(eye.element);
    if (live) {
      const watched = repeat(guarded(async () => take(await eye.sample())));
      stop = () => { watched.stop(); eye.stop(); };
    } else {
      body.append(make("div", { class: "row" },
        make("button", { type: "button", class: "primary", onclick: guarded(async () => take(await eye.sample())) }, verb)));
    }
  }

  function files() {
    const accept = model.kind === "image" ? ".png,.jpg,.jpeg,.npy" : ".csv,.wav,.npy";
    const chosen = guarded(async (list) => {
      for (const file of list) await take(fromFile(file));
    });
    const input = make("input", { type: "file", multiple: !live, accept, onchange: async () => { await chosen([...input.files]); input.value = ""; } });
    const area = make("label", { class: "drop" }, `Choose or drop ${live ? "a file" : "files"} (${accept.replaceAll(",", " ")})`, input);
    area.addEventListener("dragover", (event) => event.preventDefault());
    area.addEventListener("drop", (event) => { event.preventDefault(); chosen([...event.dataTransfer.files]); });
    body.append(area);
  }

  function table() {
    const size = model.shape.reduce((a, b) => a * b, 1);
    const text = make("textarea", { spellcheck: "false", placeholder: `${size} numbers with commas between` });
    const finish = guarded(async () => {
      if (!text.value.trim()) throw new Problem({ type: "blank-sample", title: "The table is empty", detail: "Paste numbers first." });
      await take({ data: text.value, type: "text/csv" });
      if (!live) text.value = "";
    });
    body.append(make("label", {}, `A sample of ${model.shape.join(" × ")} numbers, or several, one per line`, text),
      make("div", { class: "row" }, make("button", { type: "button", class: "primary", onclick: finish }, verb)));
  }

  function recording() {
    const loud = make("progress", { max: 1, value: 0, "aria-label": "Loudness" });
    const level = (value) => { loud.value = value; };
    const heard = model.shape.at(-1) / model.rate;
    const least = Math.min(10, Math.max(0.5, heard + 0.5)).toFixed(1);
    const seconds = make("input", { type: "number", min: "0.2", max: "10", step: "0.1", value: least });
    const wanted = () => Math.min(10, Math.max(0.2, Number(seconds.value) || 1.5));
    const once = make("button", { type: "button", class: "primary" }, `Record and ${verb.toLowerCase()}`);
    const listening = make("button", { type: "button" }, "Listen");
    const busy = (is) => { once.disabled = listening.disabled = is; };
    const quiet = () => { busy(false); listening.textContent = "Listen"; loud.value = 0; };
    once.addEventListener("click", guarded(async () => {
      busy(true);
      try {
        await take(await record(wanted(), level));
      } finally {
        quiet();
      }
    }));
    listening.addEventListener("click", guarded(async () => {
      if (once.disabled) return end();
      busy(true);
      try {
        const ear = await lent(listen(wanted(), level));
        const repeated = repeat(guarded(async () => ear.full() && take(ear.sample())));
        stop = () => { repeated.stop(); ear.stop(); quiet(); };
      } catch (error) {
        quiet();
        throw error;
      }
      listening.disabled = false;
      listening.textContent = "Stop listening";
    }));
    const words = `The model hears ${heard.toPrecision(2)} s at ${model.rate.toLocaleString("en")} Hz: the loudest stretch of what you record.`;
    body.append(make("p", { class: "quiet" }, words), make("label", {}, "Seconds", seconds), loud, make("div", { class: "row" }, once, live ? listening : null));
  }

  show(Object.keys(ways)[0]);
  return { element: make("div", { class: "capture" }, chooser, body), stop: end };
}

function mayBeSound(model) {
  return model.shape.length <= 2 && model.shape.at(-1) >= SOUND;
}

function fromFile(file) {
  const type = TYPES[file.name.split(".").pop().toLowerCase()];
  if (!type) throw new Problem({ title: "This kind of file is not taken", detail: `${file.name}: give PNG, JPEG, CSV, WAV or NPY.` });
  return { data: file, type };
}

/** Run again and again, LIVE milliseconds after it has ended, until told to stop. */
function repeat(work) {
  let on = true;
  (async () => {
    while (on) {
      await work();
      await new Promise((done) => setTimeout(done, LIVE));
    }
  })();
  return { stop: () => { on = false; } };
}

/** Run at most every LIVE milliseconds, one at a time, and once more after the last call. */
function throttle(work) {
  let running = false;
  let again = false;
  return async function run() {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      await work();
      await new Promise((done) => setTimeout(done, LIVE));
    }
    running = false;
  };
}
