// The recorded images of a bundle and the scores the reference gives for them; the format stands in vectors.h.
import { RepghostError } from './download.js';

const HEADER = 32, MAGIC = [82, 71, 86, 69, 67, 0, 0, 1]; // "RGVEC\0\0\1"

/** Reads vectors.bin, for a network of this input and as many classes. */
export function readVectors(bytes, { height, width, channels }, classes) {
  const wrong = (why) => new RepghostError('integrity', `vectors.bin does not fit the network: ${why}.`);
  if (bytes.length < HEADER || MAGIC.some((byte, i) => bytes[i] !== byte)) throw wrong('it is no vectors file');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [count, rows, columns, outputs] = [8, 12, 16, 20].map((at) => view.getUint32(at, true));
  const tolerance = view.getFloat32(24, true), depth = view.getUint32(28, true) || 3;
  if (rows !== height || columns !== width || depth !== channels || outputs !== classes)
    throw wrong(`it holds pictures of ${rows} x ${columns} x ${depth} and ${outputs} classes`);
  const size = height * width * channels, start = HEADER + Math.ceil(count * size / 4) * 4;
  if (!count || bytes.length !== start + count * classes * 4) throw wrong(`${bytes.length} bytes are not ${count} pictures`);
  if (!(tolerance >= 0 && tolerance < Infinity)) throw wrong('its tolerance is no number');
  const image = (i) => bytes.subarray(HEADER + i * size, HEADER + (i + 1) * size);
  const expected = (i, c) => start + (i * classes + c) * 4;

  /** Runs every image; equal bits are equal, otherwise only a tolerance above 0 makes up for a difference. */
  async function replay(logitsOf, { signal, onProgress } = {}) {
    let mismatches = 0, largest = 0, paused = performance.now();
    for (let i = 0; i < count; i++) {
      signal?.throwIfAborted();
      const logits = logitsOf(image(i)), bits = new Uint32Array(logits.buffer, logits.byteOffset, classes);
      let differs = false;
      for (let c = 0; c < classes; c++) {
        if (bits[c] === view.getUint32(expected(i, c), true)) continue;
        const distance = Math.abs(logits[c] - view.getFloat32(expected(i, c), true));
        if (!(distance <= largest)) largest = distance;
        differs ||= !(tolerance > 0 && distance <= tolerance);
      }
      mismatches += differs;
      onProgress?.({ done: i + 1, total: count });
      if (performance.now() - paused > 50) {
        await new Promise((resolve) => { setTimeout(resolve); }); // the page stays alive, and can cancel
        paused = performance.now();
      }
    }
    return { pictures: count, mismatches, largest, tolerance };
  }

  return { count, replay };
}
