// The memory that model.wasm imports: how much it asks for, and the same module with its memory shared by threads.

/** The most pages of 64 KB: the largest image, its rows, and the network. */
export const MOST_PAGES = 16384;
const IMPORTS = 2, SHARED = 3; // a section; the flags of a memory that is shared and has a maximum

// Where the import section begins, where its limits stand, where it ends; and the least pages. Sections have a number, a
// length and a body; the only import is the memory, so its limits end the section.
function limitsOf(wasm) {
  let at = 8;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  for (;;) {
    const section = at, kind = wasm[at++], length = number(), content = at;
    at += length;
    if (kind !== IMPORTS) continue;
    const end = at;
    at = content;
    number(); // imports, of which there is one
    for (let name = 0; name < 2; name++) {
      const size = number();
      at += size;
    }
    const limits = at + 1; // behind the kind of the import
    at = limits + 1;
    return { section, content, limits, end, least: number() };
  }
}

/** A memory for a module that imports one and nothing else. */
export function newMemory(wasm, shared) {
  return new WebAssembly.Memory({ initial: limitsOf(wasm).least, maximum: MOST_PAGES, shared });
}

/** The module with its memory declared as shared; plain code runs on shared memory as on any other. */
export function withSharedMemory(wasm) {
  const { section, content, limits, end, least } = limitsOf(wasm);
  const body = [...wasm.subarray(content, limits), SHARED, ...number(least), ...number(MOST_PAGES)];
  const parts = [wasm.subarray(0, section), Uint8Array.of(IMPORTS, ...number(body.length), ...body), wasm.subarray(end)];
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) whole.set(part, at), at += part.length;
  return whole;
}

// An unsigned number in LEB128.
function number(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return [...bytes, value];
}
