// SHA-256. Where the page is not a secure context there is no crypto.subtle, and it is computed here.

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** The digest of bytes, as hexadecimal text. */
export async function sha256(bytes) {
  if (globalThis.crypto?.subtle) return hex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)));
  return sha256Slowly(bytes);
}

function constants() {
  // The first 32 bits of the fractions of the square and cube roots of the first primes (FIPS 180-4).
  const roots = [], cubes = [];
  for (let n = 2; cubes.length < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (!prime) continue;
    if (roots.length < 8) roots.push((n ** 0.5 % 1) * 2 ** 32 | 0);
    cubes.push((n ** (1 / 3) % 1) * 2 ** 32 | 0);
  }
  return [roots, cubes];
}

/** The same without crypto.subtle; exported for its test. */
export function sha256Slowly(bytes) {
  const [start, k] = constants();
  const state = Int32Array.from(start), w = new Int32Array(64);
  const blocks = Math.ceil((bytes.length + 9) / 64);
  const tail = new Uint8Array(128); // what does not fill a block, a bit, zeros, the length in bits
  const whole = Math.floor(bytes.length / 64);
  tail.set(bytes.subarray(whole * 64));
  tail[bytes.length % 64] = 0x80;
  const end = (blocks - whole) * 64;
  const view = new DataView(tail.buffer);
  view.setUint32(end - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(end - 4, (bytes.length << 3) >>> 0);
  for (let block = 0; block < blocks; block++) {
    if (block < whole) block64(state, w, k, bytes, block * 64);
    else block64(state, w, k, tail, (block - whole) * 64);
  }
  const out = new DataView(new ArrayBuffer(32));
  state.forEach((word, i) => out.setInt32(i * 4, word));
  return hex(new Uint8Array(out.buffer));
}

const turn = (x, by) => (x >>> by) | (x << (32 - by));

function block64(state, w, k, bytes, at) {
  for (let i = 0; i < 16; i++, at += 4)
    w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15], y = w[i - 2];
    w[i] = w[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + w[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const t1 = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i]) | 0;
    const t2 = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g, g = f, f = e, e = (d + t1) | 0, d = c, c = b, b = a, a = (t1 + t2) | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => { state[i] += word; });
}
