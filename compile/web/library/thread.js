// One of the other threads of an inference: waits for a step, takes pieces of it, waits again.
import { NEXT, stepOf, STOPPED, takePieces } from './pieces.js';

const SPINS = 4000; // some tens of microseconds, as long as it takes to get to the next step

async function begin({ module, memory, control, stack, slots }, tell) {
  const [{ module: from, name }] = WebAssembly.Module.imports(module);
  const { exports } = await WebAssembly.instantiate(module, { [from]: { [name]: memory } });
  exports.__stack_pointer.value = stack;
  const table = exports.__indirect_function_table;
  if (table.length < slots) table.grow(slots - table.length); // the same functions have the same numbers everywhere
  tell('ready');
  let seen = 0;
  while (!Atomics.load(control, STOPPED)) {
    const word = Atomics.load(control, NEXT);
    if (stepOf(word) === seen) {
      let spins = SPINS;
      while (spins-- && stepOf(Atomics.load(control, NEXT)) === seen);
      if (spins < 0) Atomics.wait(control, NEXT, word);
      continue;
    }
    seen = stepOf(word);
    takePieces(control, table, seen);
  }
}

if (typeof self === 'object' && typeof self.postMessage === 'function') {
  self.onmessage = ({ data }) => begin(data, (message) => self.postMessage(message));
} else {
  const { parentPort } = await import(`node:${'worker_threads'}`);
  parentPort.once('message', (data) => begin(data, (message) => parentPort.postMessage(message)));
}
