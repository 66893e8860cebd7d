// What learning did and what the model answers, as elements.

import { bytes, draw, make, meter, milliseconds, percent } from "./dom.js";

/** Figures, the curve of the loss, and what changed in the network. */
export function report(found) {
  const check = found.check;
  const accuracy = check
    ? fact(`${check.right} of ${check.samples} right`, `on kept samples; ${check.right_before} before learning`)
    : fact("–", "no accuracy: keep samples back to have one");
  return [
    make("div", { class: "facts" },
      accuracy,
      fact(`${number(found.losses[0])} → ${number(found.loss)}`, `loss, in ${found.steps === 1 ? "1 step" : `${found.steps} steps`}`),
      fact(milliseconds(found.elapsed_ms), `for ${found.samples} samples on ${found.engine}`),
      fact(bytes(found.peak_bytes), `of memory at its peak (${found.memory})`)),
    ...(found.steps > 1 ? [curve([...found.losses, found.loss])] : []),
    layers(found.layers),
  ];
}

const number = (value) => value.toPrecision(value < 0.001 ? 1 : 2);

function fact(figure, words) {
  return make("div", {}, make("b", {}, figure), make("span", {}, words));
}

/** The loss step by step, as a line with its ends in words. */
export function curve(losses) {
  return make("figure", { class: "loss" }, line(losses),
    make("figcaption", {}, make("span", {}, `loss ${number(losses[0])}`), make("span", {}, `${number(losses.at(-1))} after ${losses.length - 1} steps`)));
}

function line(losses) {
  const most = Math.max(...losses, 1e-9);
  const points = losses.map((loss, i) => [(100 * i) / Math.max(1, losses.length - 1), 38 - (36 * loss) / most]);
  return draw("svg", { class: "curve", viewBox: "0 0 100 40", preserveAspectRatio: "none", "aria-hidden": "true" },
  draw("line", { x1: 0, y1: 38, x2: 100, y2: 38 }),
  draw("polyline", { points: points.map((point) => point.map((v) => v.toFixed(2)).join(",")).join(" ") }));
}

function layers(found) {
  const most = Math.max(...found.map((layer) => layer.change), 1e-9);
  const rows = found.map((layer) => make("tr", {},
    make("th", { scope: "row" }, layer.layer),
    make("td", {}, meter(layer.change / most)),
    make("td", { class: "figure" }, percent(layer.change)),
    make("td", { class: "figure" }, `${layer.moved.toLocaleString("en")} of ${layer.values.toLocaleString("en")}`)));
  return make("div", { class: "wide" }, make("table", {},
    make("caption", {}, "What changed in the network, relative to the size of each layer"),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "layer"), make("th", {}),
      make("th", { scope: "col", class: "figure" }, "change"), make("th", { scope: "col", class: "figure" }, "weights moved"))),
    make("tbody", {}, ...rows)));
}

/** Before and after side by side; `before` is null while nothing was learned. */
export function answers(before, now, count) {
  if (!now) return [make("p", { class: "quiet" }, "The answer appears here.")];
  const shown = before ? [answer("Before learning", before, "before"), answer("Now", now, "now")] : [answer("Untaught", now, "before")];
  const words = [make("div", { class: "pair" }, ...shown)];
  if (count > 1) words.push(make("p", { class: "quiet" }, `The first of ${count} samples.`));
  return words;
}

function answer(title, made, kind) {
  const first = made.predictions[0];
  const box = make("div", { class: `answer ${kind}` }, make("h3", { class: "quiet" }, title));
  if (first.values) {
    box.append(make("p", { class: "verdict" }, first.values.map((v) => v.toPrecision(3)).join(", ")));
    return box;
  }
  box.append(make("p", { class: "verdict" }, first.label));
  const list = make("dl");
  made.classes.forEach((name, i) => list.append(
    make("dt", {}, name), make("dd", {}, meter(first.probabilities[i])), make("dd", {}, percent(first.probabilities[i]))));
  box.append(list, make("p", { class: "quiet" }, milliseconds(made.elapsed_ms)));
  return box;
}

/** A signal as a line. */
export function plot(values) {
  const canvas = make("canvas", { width: 116, height: 116 });
  const context = canvas.getContext("2d");
  const rows = Array.isArray(values[0]) ? values.map((row) => row.flat(8)) : [values];
  const flat = rows.flat();
  const [low, high] = [Math.min(...flat), Math.max(...flat)];
  rows.slice(0, 4).forEach((row, r) => {
    context.strokeStyle = ["#0b7a70", "#a63a15", "#3f51b5", "#6a7178"][r];
    context.lineWidth = 3;
    context.beginPath();
    row.forEach((value, i) => context.lineTo(6 + (104 * i) / Math.max(1, row.length - 1), 108 - (100 * (value - low)) / (high - low || 1)));
    context.stroke();
  });
  return canvas;
}
