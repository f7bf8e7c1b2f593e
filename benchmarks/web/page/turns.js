// What the benchmark calls: each network is opened once, then measured in turns. An answer is the scores of an image as
// a Float32Array; copying the image in and the scores out belongs to it, preparing the image does not.
import { runtimes } from './runtimes.js';

const sessions = new Map();
const { images, height, width, channels } = await (await fetch('inputs.json')).json();
const numbers = height * width * channels;
const floats = new Float32Array(await (await fetch('inputs.bin')).arrayBuffer()); // normalized, [N, C, H, W]
const bytes = new Uint8Array(await (await fetch('pictures.bin')).arrayBuffer()); // [N, H, W, C]

// The same image in each layout: bytes, floats with channels first, floats with channels last.
function image(index) {
  const first = floats.subarray(index * numbers, (index + 1) * numbers), last = new Float32Array(numbers);
  for (let c = 0, at = 0; c < channels; c++)
    for (let pixel = 0; pixel < height * width; pixel++) last[pixel * channels + c] = first[at++];
  return { rgb: bytes.slice(index * numbers, (index + 1) * numbers), first: first.slice(), last, height, width, channels };
}

const entries = () => performance.getEntriesByType('resource');

/** Opens a network and asks it for one answer: what that took in ms, and what was downloaded for it in bytes. */
globalThis.start = async ({ name, runtime, ...options }) => {
  const before = new Set(entries()), shown = image(0), begun = performance.now();
  const session = await runtimes[runtime](options, shown);
  const opened = performance.now();
  session.feed(shown);
  await session.run();
  const answered = performance.now();
  sessions.set(name, session);
  const files = entries().filter((entry) => !before.has(entry)).map((it) => [new URL(it.name).pathname, it.decodedBodySize]);
  return { version: session.version, variant: session.variant ?? '', open_ms: opened - begun, first_ms: answered - begun,
    download_ms: session.download_ms ?? null, files };
};

/** The scores of every image, [N][classes]. */
globalThis.answers = async (name) => {
  const session = sessions.get(name), all = [];
  for (let i = 0; i < images; i++) session.feed(image(i)), all.push(Array.from(await session.run()));
  return all;
};

/** The milliseconds of so many inferences in a row, after some that are not timed. */
globalThis.turn = async (name, warmup, inferences) => {
  const session = sessions.get(name), times = [];
  for (let i = 0; i < warmup + inferences; i++) {
    const begun = performance.now();
    await session.run();
    if (i >= warmup) times.push(performance.now() - begun);
  }
  return times;
};

/** How many images of its bundle one of our builds answers differently than the reference. */
globalThis.verify = async (name) => (await sessions.get(name).verify()).mismatches;

globalThis.stop = (name) => { sessions.delete(name); };

globalThis.ready = true;
