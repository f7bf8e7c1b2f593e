// A network compiled with TARGET=web, in a page, a worker or Node: an image in, one score per class out, or a detector's
// boxes, or several results, with the same bits as on a board.
//
//     import { load } from './repghost.js';
//     const model = await load();
//     const { label, probability } = await model.predict(file);
import { findBoxes, readRule } from './boxes.js';
import { openFolder, RepghostError } from './download.js';
import { newMemory, withSharedMemory } from './memory.js';
import { MOST_PIXELS, keepsBands, pixelsOf, text } from './pixels.js';
import { possibleThreads, stackBytes, startThreads } from './threads.js';
import { modelFile } from './variants.js';
import { readVectors } from './vectors.js';

export { MOST_PIXELS, RepghostError };

const ABI = 2, ABI_RESULTS = 3, PAGE = 65536, ALIGNMENT = 64;
const STATUS = ['done', 'a null pointer', 'an unaligned pointer', 'an unsupported processor', 'an unknown variant',
  'a step failed', 'invalid threads', 'the pool failed', 'a picture out of range', 'pictures cannot be prepared'];
// A function that uses i8x16.popcnt: what WebAssembly without SIMD refuses.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

/** Whether this browser runs the networks: WebAssembly with SIMD. */
export const isSupported = () =>
  typeof WebAssembly === 'object' && WebAssembly.validate(new Uint8Array(SIMD));

/** Loads a bundle from the folder at a URL, or at a path under Node; by default the one this file lies in. */
export async function load(place = new URL('./', import.meta.url), { signal, onProgress, threads = 1, variant } = {}) {
  const workers = possibleThreads(threads);
  if (!isSupported())
    throw new RepghostError('unsupported', 'this browser has no WebAssembly with SIMD, which the network needs: ' +
      'Chrome 91, Firefox 89, Safari 16.4, Node 18 or newer have it.');
  const start = performance.now();
  const folder = await openFolder(place, { signal });
  const file = modelFile(folder.manifest, variant), total = folder.size(file) + folder.size('labels.txt');
  let loaded = 0;
  const onBytes = (count) => onProgress?.({ loaded: loaded += count, total });
  const read = (name) => folder.read(name, { signal, onBytes });
  const [wasm, labels] = await Promise.all([read(file), read('labels.txt')]);
  const downloaded = performance.now();
  const instance = await instantiate(wasm, workers > 1);
  signal?.throwIfAborted();
  const compiled = performance.now();
  const timings = { download_ms: downloaded - start, compile_ms: compiled - downloaded };
  const model = new Model(folder, instance, new TextDecoder().decode(labels), timings);
  if (workers > 1) await model.startThreads(instance, workers);
  return model;
}

async function instantiate(wasm, shared) {
  const module = await compile(shared ? withSharedMemory(wasm) : wasm);
  const imports = WebAssembly.Module.imports(module);
  if (imports.length !== 1 || imports[0].kind !== 'memory')
    throw new RepghostError('integrity', 'model.wasm asks for more than memory; it was not run.');
  try {
    const memory = newMemory(wasm, shared);
    const { exports } = await WebAssembly.instantiate(module, { [imports[0].module]: { [imports[0].name]: memory } });
    return { module, memory, exports };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RepghostError('memory', `there is not enough memory for the network (${error.message}).`, error);
  }
}

async function compile(wasm) {
  try {
    return await WebAssembly.compile(wasm);
  } catch (error) {
    throw new RepghostError('integrity', `model.wasm is no WebAssembly that runs here (${error.message}).`, error);
  }
}

const aligned = (at) => Math.ceil(at / ALIGNMENT) * ALIGNMENT;

/** A loaded network. Several may live in one page. */
class Model {
  #exports; #memory; #folder; #picture; #rgb; #logits; #workspace; #free; #vectors; #pool; #rule;

  constructor(folder, { memory, exports }, labels, timings) {
    this.#exports = exports, this.#memory = memory, this.#folder = folder;
    this.manifest = folder.manifest;
    this.info = JSON.parse(text(memory, exports.rg_info()));
    this.outputs = this.info.outputs ?? []; // {name, height, width, channels} of each of several results
    const wanted = this.outputs.length ? ABI_RESULTS : ABI;
    if (exports.rg_abi() !== wanted) throw new RepghostError('integrity', `model.wasm has interface ${exports.rg_abi()}, not ${wanted}.`);
    this.input = this.info.input; // {height, width, channels}
    this.classes = this.info.classes;
    if (this.info.detection) this.#rule = readRule(this.info.detection, this.classes);
    this.labels = labels.split('\n').slice(0, this.#rule?.classes ?? (this.outputs.length || this.classes));
    this.precision = this.manifest.precision;
    this.variant = text(memory, exports.rg_variant());
    this.timings = timings;
    this.threads = 1;
    const { height, width, channels } = this.input;
    this.#picture = aligned(exports.__heap_base.value);
    this.#rgb = this.#picture + ALIGNMENT;
    this.#logits = this.#rgb + aligned(height * width * channels);
    this.#workspace = this.#logits + aligned(this.classes * 4);
    this.#free = this.#workspace + aligned(exports.rg_workspace_bytes());
    this.#reserve(this.#free);
  }

  // Called once, by `load`.
  async startThreads(instance, threads) {
    const stacks = this.#free;
    this.#free += stackBytes(threads);
    this.#reserve(this.#free);
    this.#pool = await startThreads(instance, threads, stacks);
    this.threads = threads;
  }

  /** The best class of an image: {label, index, probability, logit, logits}. */
  async predict(image, { signal } = {}) {
    this.#needsClasses();
    const logits = this.logits(await this.prepare(image, { signal }));
    return { ...this.#ranked(logits)[0], logits };
  }

  /** The best n classes of an image, the best first. */
  async top(image, n = 5, { signal } = {}) {
    this.#needsClasses();
    return this.#ranked(this.logits(await this.prepare(image, { signal }))).slice(0, n);
  }

  /** What a detector finds on an image, the most probable first: {class, label, score, box} in pixels of the image. */
  async detect(image, { signal } = {}) {
    const rule = this.#rule;
    if (!rule) throw new RepghostError('unsupported', 'this network is no detector; use predict, or results.');
    const { rgb, width, height } = await this.#prepared(image, signal);
    return findBoxes(rule, this.logits(rgb)).map(({ label, score, edges }) => ({
      class: label - 1, label: this.labels[label - 1] ?? '', score, box: edges.map((edge, i) => edge * (i % 2 ? height : width)),
    }));
  }

  /** Each of several results by name: {data: Float32Array [height][width][channels], height, width, channels}. */
  async results(image, { signal } = {}) {
    if (!this.outputs.length) throw new RepghostError('unsupported', 'this network gives scores of classes; use predict, or logits.');
    const numbers = this.logits(await this.prepare(image, { signal }));
    let start = 0;
    return Object.fromEntries(this.outputs.map(({ name, height, width, channels }) =>
      [name, { data: numbers.subarray(start, start += height * width * channels), height, width, channels }]));
  }

  /** The bytes the network takes, of any image: resized and cropped as in training. */
  async prepare(image, { signal } = {}) {
    return (await this.#prepared(image, signal)).rgb;
  }

  async #prepared(image, signal) {
    this.#check();
    const { channels } = this.input, order = { 2: 5, 4: 6 }[channels] ?? 0; // enum rg_order
    const { data, width, height } = await pixelsOf(image, this.#folder, signal, channels);
    signal?.throwIfAborted();
    const exports = this.#check(), pixels = this.#free;
    this.#reserve(pixels + data.length);
    new Uint8Array(this.#memory.buffer).set(data, pixels);
    // struct rg_picture: pixels, chroma, width, height, order, stride, chroma_stride
    new Int32Array(this.#memory.buffer, this.#picture, 7).set([pixels, 0, width, height, order, width * (keepsBands(channels) ? channels : 3), 0]);
    const scratch = aligned(pixels + data.length), bytes = exports.rg_prepare_bytes(this.#picture);
    if (!bytes) throw new RepghostError('image', `a picture of ${width} x ${height} pixels is too long and thin to be resized. Crop it first.`);
    this.#reserve(scratch + bytes);
    this.#done(exports.rg_prepare(this.#picture, this.#rgb, scratch));
    return { rgb: this.#bytes(this.#rgb, this.#inputBytes()).slice(), width, height };
  }

  /** The scores of bytes as `prepare` gives them, Float32Array [classes]; of several results the numbers of all. */
  logits(rgb) {
    this.#check();
    if (!(rgb instanceof Uint8Array || rgb instanceof Uint8ClampedArray) || rgb.length !== this.#inputBytes())
      throw new RepghostError('image', `logits takes a Uint8Array of ${this.#inputBytes()} bytes, [height][width][channels], not ${rgb?.length ?? rgb}${ArrayBuffer.isView(rgb) ? ` numbers in a ${rgb.constructor.name}` : ''}.`);
    this.#bytes(this.#rgb, rgb.length).set(rgb);
    this.#infer();
    return new Float32Array(this.#memory.buffer, this.#logits, this.classes).slice();
  }

  /** Replays the vectors of the bundle: {pictures, mismatches, largest, tolerance}. */
  async verify({ signal, onProgress } = {}) {
    this.#check();
    this.#vectors ??= readVectors(await this.#folder.read('vectors.bin', { signal }), this.input, this.classes);
    return this.#vectors.replay((rgb) => this.logits(rgb), { signal, onProgress });
  }

  /** How long an inference takes here: {median_ms, p90_ms, ...}. See bench.js. */
  async bench(options) {
    this.#check();
    const { bench } = await import('./bench.js');
    let seed = 1; // what is in the image does not matter, but it should not be one colour
    const rgb = Uint8Array.from({ length: this.#inputBytes() }, () => (seed = (seed * 16807) % 2147483647) >>> 23);
    this.#bytes(this.#rgb, rgb.length).set(rgb);
    const measured = await bench(() => this.#infer(), options);
    return { ...measured, threads: this.threads, variant: this.variant, precision: this.precision };
  }

  /** Lets go of the memory; the model cannot be used afterwards. */
  close() {
    this.#pool?.stop();
    this.#exports = this.#memory = this.#vectors = this.#pool = undefined;
  }

  #needsClasses() {
    if (this.outputs.length) throw new RepghostError('unsupported', 'this network gives several results and no class; use detect, or results.');
  }

  #check() {
    if (!this.#exports) throw new RepghostError('closed', 'this model was closed; load it again.');
    return this.#exports;
  }

  #infer() {
    const exports = this.#check(), places = [this.#rgb, this.#logits, this.#workspace];
    this.#done(this.#pool ? exports.rg_infer_parallel(...places, this.#pool.run, 0, this.threads) : exports.rg_infer(...places));
  }

  #done(status) {
    if (status) throw new RepghostError('image', `the network refused: ${STATUS[status] ?? status}.`);
  }

  #inputBytes() {
    return this.input.height * this.input.width * this.input.channels;
  }

  #bytes(at, length) {
    return new Uint8Array(this.#memory.buffer, at, length);
  }

  #reserve(end) {
    const missing = Math.ceil(end / PAGE) - this.#memory.buffer.byteLength / PAGE;
    if (missing <= 0) return;
    try {
      this.#memory.grow(missing);
    } catch (error) {
      throw new RepghostError('memory', `there is not enough memory for ${Math.ceil(end / 2 ** 20)} MB. Use a smaller picture.`, error);
    }
  }

  // The best first, of equal ones the lower class; what is no number comes last. As the runner on boards ranks them.
  #ranked(logits) {
    const order = Array.from(logits.keys()).sort((a, b) => {
      const [x, y] = [logits[a], logits[b]];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
      return y - x || a - b;
    });
    const best = logits[order[0]];
    const sum = logits.reduce((total, logit) => total + Math.exp(logit - best), 0);
    return order.map((index) => ({
      index, label: this.labels[index] ?? '', logit: logits[index], probability: Math.exp(logits[index] - best) / sum,
    }));
  }
}
