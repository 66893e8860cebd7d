// The camera as still pictures of the model's proportions, cut from the middle.

import { make } from "./dom.js";
import { Problem } from "./api.js";

const WIDTH = 320;

export async function camera(shape) {
  const [, rows, columns] = shape;
  if (!navigator.mediaDevices) {
    throw new Problem({ title: "No camera here", detail: "Browsers lend the camera to https pages and to localhost only." });
  }
  const video = make("video", { playsinline: true, muted: true, "aria-label": "Camera picture" });
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    throw new Problem({ title: "No camera", detail: "There is none, or this page may not use it: allow it in the browser." });
  }
  video.srcObject = stream;
  await video.play();
  const canvas = make("canvas", { width: WIDTH, height: Math.round((WIDTH * rows) / columns) });
  const context = canvas.getContext("2d");

  async function sample() {
    const ratio = columns / rows;
    const width = Math.min(video.videoWidth, video.videoHeight * ratio);
    const height = width / ratio;
    const [left, top] = [(video.videoWidth - width) / 2, (video.videoHeight - height) / 2];
    context.drawImage(video, left, top, width, height, 0, 0, canvas.width, canvas.height);
    return { data: await new Promise((done) => canvas.toBlob(done, "image/png")), type: "image/png" };
  }

  return { element: video, sample, stop: () => stream.getTracks().forEach((track) => track.stop()) };
}
