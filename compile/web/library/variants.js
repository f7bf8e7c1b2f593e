// Which of a bundle's models runs here. An engine refuses a whole module for one instruction it lacks, so instructions
// that only some have lie in a file of their own.
import { RepghostError } from './download.js';

const RELAXED = 'model-relaxed.wasm';
// What the relaxed dot product gives where a byte of its second operand has its top bit is left to the engine. These
// tell whether it multiplies signed with unsigned bytes and limits nothing in between, as x86-64 does by AVX-VNNI.
const LEFT = [-128, -128, -128, -128, 127, 127, 127, 127, -128, 127, -1, 1, 0, 0, 0, 127];
const RIGHT = [255, 255, 255, 255, 255, 255, 255, 255, 255, 128, 255, 127, 255, 128, 127, 255];
const START = [1, 2, 3, 4];
// A module with a memory "m" and a function "f": v128 at 48 = i32x4.relaxed_dot_i8x16_i7x16_add_s of those at 0, 16, 32.
const MODULE = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 9, 2, 1, 109, 2,
  0, 1, 102, 0, 0, 10, 31, 1, 29, 0, 65, 0, 65, 0, 253, 0, 4, 0, 65, 0, 253, 0, 4, 16, 65, 0, 253, 0, 4, 32, 253, 147, 2,
  253, 11, 4, 48, 11);

const hasRelaxed = () => WebAssembly.validate(MODULE);
let exact; // asked once

function hasExactDot() {
  if (!hasRelaxed()) return false;
  const { m, f } = new WebAssembly.Instance(new WebAssembly.Module(MODULE)).exports;
  new Int8Array(m.buffer, 0, 16).set(LEFT), new Uint8Array(m.buffer, 16, 16).set(RIGHT);
  new Int32Array(m.buffer, 32, 4).set(START);
  f();
  const wanted = START.map((start, lane) =>
    [0, 1, 2, 3].reduce((sum, i) => sum + LEFT[4 * lane + i] * RIGHT[4 * lane + i], start));
  return new Int32Array(m.buffer, 48, 4).every((sum, lane) => sum === wanted[lane]);
}

// By name: the file, and whether this engine runs it.
const VARIANTS = {
  simd128: ['model.wasm', () => true],
  madd: [RELAXED, hasRelaxed],
  relaxed: [RELAXED, () => (exact ??= hasExactDot())],
};

/** The file of the fastest variant of a bundle that runs here, or of the one that is asked for. */
export function modelFile({ variants, files }, wanted) {
  const known = variants.filter((name) => Object.hasOwn(VARIANTS, name) && Object.hasOwn(files, VARIANTS[name][0]));
  if (wanted !== undefined && !known.includes(wanted))
    throw new RangeError(`the bundle has no variant ${JSON.stringify(wanted)}, only ${known.join(' and ')}.`);
  const able = (wanted === undefined ? known : [wanted]).filter((name) => VARIANTS[name][1]());
  if (able.length) return VARIANTS[able.at(-1)][0];
  throw new RepghostError('unsupported', `this engine does not run ${wanted ?? 'any variant of the bundle'}.`);
}
