// A canvas to draw on with finger, mouse or keyboard: arrows move the pen, the space bar puts it down or up.

import { make } from "./dom.js";

const WIDTH = 280; // of the drawing in pixels, whatever the screen makes of it
const PEN = 0.075; // of the width, about what a felt pen is on a palm-sized card

export function pad(shape, changed) {
  const [, rows, columns] = shape;
  const height = Math.round((WIDTH * rows) / columns);
  const canvas = make("canvas", {
    class: "pad", width: WIDTH, height, tabindex: "0", role: "img",
    "aria-label": "Drawing area. With the keyboard: arrow keys move the pen, space lowers or lifts it, Delete clears.",
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pen = { x: WIDTH / 2, y: height / 2, down: false };
  let empty = true;

  function clear() {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, WIDTH, height);
    empty = true;
    pen.down = false;
  }

  function line(x, y) {
    context.strokeStyle = "#000";
    context.lineWidth = WIDTH * PEN;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(pen.x, pen.y);
    context.lineTo(x, y);
    context.stroke();
    empty = false;
    Object.assign(pen, { x, y });
    changed();
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * WIDTH, ((event.clientY - box.top) / box.height) * height];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [pen.x, pen.y] = place(event);
    pen.down = true;
    line(pen.x, pen.y);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pen.down || !event.buttons) return;
    for (const step of event.getCoalescedEvents?.() ?? [event]) line(...place(step));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { pen.down = false; });

  canvas.addEventListener("keydown", (event) => {
    const step = WIDTH / 20;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (move) {
      const [x, y] = [Math.min(WIDTH, Math.max(0, pen.x + move[0])), Math.min(height, Math.max(0, pen.y + move[1]))];
      if (pen.down) line(x, y);
      else Object.assign(pen, { x, y });
    } else if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) line(pen.x, pen.y);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      clear();
      changed();
    } else {
      return;
    }
    event.preventDefault();
  });

  clear();
  const blob = () => new Promise((done) => canvas.toBlob(done, "image/png"));
  return {
    element: canvas,
    clear,
    isEmpty: () => empty,
    sample: async () => ({ data: await blob(), type: "image/png" }),
  };
}
