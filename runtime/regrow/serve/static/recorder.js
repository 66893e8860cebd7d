// Runs beside the page: hands what the microphone hears to it, block by block.

registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([[heard]]) {
    if (heard) this.port.postMessage(heard.slice());
    return true;
  }
});
