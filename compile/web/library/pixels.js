// From any image a page can hold to RGB bytes. JPEG and PNG files are decoded by images.wasm, the decoders of the
// runner on boards, so that a file has the same pixels everywhere; what the browser decoded itself is taken from it.
import { RepghostError } from './download.js';

/** The most pixels of an image, as in repghost.h. */
export const MOST_PIXELS = 89478485;
const MOST_BYTES = 1 << 28; // of an encoded image
const decoders = new WeakMap(); // the compiled images.wasm of a bundle

/** Whether a network of so many channels takes the bands of a picture as they are stored; others take RGB. */
export const keepsBands = (channels) => channels === 2 || channels === 4;

/** Pixels, upright: {data: Uint8Array [height][width][3], width, height}; of a network of 2 or 4 channels its bands. */
export async function pixelsOf(image, folder, signal, channels = 3) {
  if (isFile(image)) return fromFile(image, folder, signal, channels);
  if (ArrayBuffer.isView(image?.data) && Number.isInteger(image.width)) return fromBytes(image, channels);
  return fromDrawing(image, channels);
}

const isFile = (image) =>
  (typeof Blob === 'function' && image instanceof Blob) || image instanceof ArrayBuffer || image instanceof Uint8Array;

function checkSize(width, height) {
  if (!(Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0))
    throw new RepghostError('image', `the picture has ${width} x ${height} pixels; wait until it is loaded, or check it.`);
  if (width * height > MOST_PIXELS)
    throw new RepghostError('image', `the picture has ${width} x ${height} pixels, more than the ${MOST_PIXELS} allowed. Make it smaller.`);
}

function fromBytes({ data, width, height }, channels) {
  checkSize(width, height);
  const count = width * height;
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray))
    throw new RepghostError('image', 'the data of a picture has to be a Uint8Array or a Uint8ClampedArray.');
  if (keepsBands(channels) && data.length !== count * channels)
    throw new RepghostError('image', `the picture holds ${data.length} bytes; ${width} x ${height} pixels of ${channels} bands need ${count * channels}.`);
  if (keepsBands(channels) || data.length === count * 3) return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), width, height };
  if (data.length !== count * 4)
    throw new RepghostError('image', `the picture holds ${data.length} bytes; ${width} x ${height} pixels need ${count * 3} (RGB) or ${count * 4} (RGBA).`);
  return { data: overWhite(data, count), width, height };
}

// What is transparent is laid over white, in the arithmetic of the runner (and of Pillow's alpha_composite).
function overWhite(rgba, count) {
  const rgb = new Uint8Array(count * 3);
  for (let i = 0, at = 0, out = 0; i < count; i++, at += 4, out += 3) {
    const alpha = rgba[at + 3], part = alpha * 128;
    for (let c = 0; c < 3; c++) {
      const sum = rgba[at + c] * part + 255 * (255 * 128 - part) + (128 << 7);
      rgb[out + c] = alpha === 255 ? rgba[at + c] : (((sum >> 8) + sum) >> 8) >> 7;
    }
  }
  return rgb;
}

// Canvases keep colours multiplied by alpha, and taking them apart again loses bits: it is drawn over white instead.
function fromDrawing(image, channels) {
  if (keepsBands(channels))
    throw new RepghostError('image', `the network takes pictures of ${channels} bands, and what a browser draws has lost bits of theirs: give a PNG file, or {data, width, height} with ${channels} bytes a pixel.`);
  const [width, height] = drawnSize(image);
  checkSize(width, height);
  const canvas = typeof OffscreenCanvas === 'function'
    ? new OffscreenCanvas(width, height)
    : Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  if (!context) throw new RepghostError('image', `the browser has no canvas of ${width} x ${height} pixels. Make the picture smaller.`);
  try {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, width, height);
    context.drawImage(image, 0, 0, width, height);
    return fromBytes(context.getImageData(0, 0, width, height, { colorSpace: 'srgb' }), channels);
  } catch (error) {
    if (error instanceof RepghostError) throw error;
    throw new RepghostError('image', `the browser does not give the pixels of this picture: ${error.message}`, error);
  }
}

const canDraw = () => typeof OffscreenCanvas === 'function' || typeof document === 'object'; // Node cannot

function drawnSize(image) {
  if (typeof image !== 'object' || image === null || Array.isArray(image.data) || !canDraw())
    throw new RepghostError('image', `${image === null ? 'null' : typeof image} is no picture that can be used here: give a File, an image, a canvas, a video, or {data, width, height} with data of bytes.`);
  const width = image.naturalWidth ?? image.videoWidth ?? image.displayWidth ?? image.width;
  const height = image.naturalHeight ?? image.videoHeight ?? image.displayHeight ?? image.height;
  return [width, height];
}

async function fromFile(file, folder, signal, channels) {
  const size = file.size ?? file.byteLength;
  if (size > MOST_BYTES) throw new RepghostError('image', `the file has ${size} bytes, more than the ${MOST_BYTES} allowed.`);
  const bytes = file instanceof Uint8Array ? file : new Uint8Array(file instanceof ArrayBuffer ? file : await file.arrayBuffer());
  const jpeg = bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
  const png = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, i) => bytes[i] === byte);
  if ((jpeg || png) && folder.has('images.wasm')) return decode(bytes, await decoderOf(folder, signal), channels);
  if (keepsBands(channels)) throw new RepghostError('image', `the network takes pictures of ${channels} bands: give a PNG file.`);
  if (typeof createImageBitmap !== 'function')
    throw new RepghostError('image', 'the file is no picture that can be read: JPEG or PNG.');
  let bitmap;
  try {
    bitmap = await createImageBitmap(file instanceof Blob ? file : new Blob([bytes]));
  } catch (error) {
    throw new RepghostError('image', 'the file is no picture that this browser or this library can read.', error);
  }
  try {
    return fromDrawing(bitmap, channels);
  } finally {
    bitmap.close();
  }
}

async function decoderOf(folder, signal) {
  if (!decoders.has(folder)) decoders.set(folder, await WebAssembly.compile(await folder.read('images.wasm', { signal })));
  return decoders.get(folder);
}

// decode(bytes, size, most pixels, struct pixels *) and decode_bands, which has the bands before, of compile/runner/images/decode.h. Each image gets an instance of
// its own: its memory goes with it.
function decode(bytes, decoder, channels) {
  try {
    const { exports } = new WebAssembly.Instance(decoder, {});
    exports._initialize();
    const given = exports.malloc(bytes.length), result = exports.malloc(12);
    if (!given || !result) throw new RangeError('out of memory');
    new Uint8Array(exports.memory.buffer).set(bytes, given);
    const bands = keepsBands(channels) ? channels : 3;
    const problem = bands === 3 ? exports.decode(given, bytes.length, MOST_PIXELS, result) : exports.decode_bands(given, bytes.length, MOST_PIXELS, bands, result);
    if (problem) throw new RepghostError('image', `the file is no picture that can be read: ${text(exports.memory, problem).split(';')[0]}.`);
    const [width, height, rgb] = new Int32Array(exports.memory.buffer, result, 3);
    return { data: new Uint8Array(exports.memory.buffer, rgb >>> 0, width * height * bands), width, height };
  } catch (error) {
    if (error instanceof RepghostError) throw error;
    throw new RepghostError('memory', `there is not enough memory to decode the picture (${error.message}). Make it smaller.`, error);
  }
}

/** The text at a pointer, up to its zero byte. */
export function text(memory, at) {
  const bytes = new Uint8Array(memory.buffer), end = bytes.indexOf(0, at);
  return new TextDecoder().decode(bytes.slice(at, end));
}
