// The microphone as a WAV file of 16 bits.

import { Problem } from "./api.js";

/** Record for `seconds` at the rate of the microphone; `level(0..1)` is called while it runs. */
export async function record(seconds, level) {
  const ear = await listen(seconds, level);
  await new Promise((done) => setTimeout(done, 1000 * seconds));
  await ear.stop();
  return ear.sample();
}

/** Listen until told to stop; `sample()` is what was heard in the last `seconds`, of which it is `full()` some time. */
export async function listen(seconds, level) {
  if (!navigator.mediaDevices) {
    throw new Problem({ title: "No microphone here", detail: "Browsers lend it to https pages and to localhost only." });
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    throw new Problem({ title: "No microphone", detail: "There is none, or this page may not use it: allow it in the browser." });
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule("/static/recorder.js");
  const node = new AudioWorkletNode(context, "recorder");
  const blocks = [];
  let count = 0;
  node.port.onmessage = ({ data }) => {
    blocks.push(data);
    count += data.length;
    while (count - blocks[0].length >= seconds * context.sampleRate) count -= blocks.shift().length;
    level(Math.max(...data.map(Math.abs)));
  };
  context.createMediaStreamSource(stream).connect(node);
  return {
    full: () => count >= seconds * context.sampleRate,
    sample: () => ({ data: wav(blocks, context.sampleRate), type: "audio/wav" }),
    stop: () => {
      stream.getTracks().forEach((track) => track.stop());
      return context.close();
    },
  };
}

function wav(blocks, rate) {
  const count = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, rate, 4], [28, 2 * rate, 4], [32, 2, 2], [34, 16, 2]].forEach(([at, value, size]) =>
    size === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true));
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) {
    for (const value of block) {
      view.setInt16(at, Math.max(-1, Math.min(1, value)) * 0x7fff, true);
      at += 2;
    }
  }
  return view.buffer;
}
