// An inference over workers that share one memory. Each has an instance of the same module and a stack of its own;
// rg_infer_parallel cuts each step into pieces, and whoever is free takes the next one.
import { RepghostError } from './download.js';
import { beginStep, DONE, endStep, FAILED, MOST_PIECES, NEXT, STOPPED, takePieces, WORDS } from './pieces.js';

const MOST_THREADS = 16;
const STACK_BYTES = 2 << 20; // of a thread, as of the module itself: compile/link/wasm.py
// A module that gives the function it imports the type of rg_parallel_for, (i32, i32, i32, i32) -> i32.
const TYPED = [0, 97, 115, 109, 1, 0, 0, 0, 1, 9, 1, 96, 4, 127, 127, 127, 127, 1, 127, 2, 7, 1, 1, 97, 1, 98, 0, 0, 7, 5,
  1, 1, 102, 0, 0];

/** How many threads a wish comes to: one where memory cannot be shared, as in pages that are not isolated. */
export function possibleThreads(wanted) {
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > MOST_THREADS)
    throw new RangeError(`threads has to be a whole number from 1 to ${MOST_THREADS}, not ${wanted}.`);
  return typeof SharedArrayBuffer === 'function' && (globalThis.crossOriginIsolated ?? true) ? wanted : 1;
}

/** What the stacks of the other threads need, from a place in memory on. */
export const stackBytes = (threads) => (threads - 1) * STACK_BYTES;

/** Starts the other threads; `run` is what rg_infer_parallel takes as the caller's pool. */
export async function startThreads({ module, memory, exports }, threads, stacks) {
  const control = new Int32Array(new SharedArrayBuffer(WORDS * 4)), table = exports.__indirect_function_table;
  const workers = [];
  let step = 0;

  const parallel = (context, task, data, count) => {
    if (count > MOST_PIECES) return 1;
    endStep(control, step);
    step = (step + 1) & 0x3fffff;
    beginStep(control, step, task, data, count);
    takePieces(control, table, step);
    while (Atomics.load(control, DONE) < count) if (Atomics.load(control, FAILED)) return 1;
    return Atomics.load(control, FAILED);
  };
  const { exports: typed } = await WebAssembly.instantiate(await WebAssembly.compile(new Uint8Array(TYPED)), { a: { b: parallel } });
  const run = table.grow(1);
  table.set(run, typed.f);

  const stop = () => {
    Atomics.store(control, STOPPED, 1);
    Atomics.notify(control, NEXT);
    for (const worker of workers) worker.terminate();
  };
  try {
    const ready = Array.from({ length: threads - 1 }, (_, i) =>
      startWorker(workers, { module, memory, control, stack: stacks + (i + 1) * STACK_BYTES, slots: table.length }));
    await Promise.all(ready);
  } catch (error) {
    stop();
    throw new RepghostError('unsupported', `the threads could not be started (${error.message ?? error}). Load it with one.`, error);
  }
  return { run, stop };
}

async function startWorker(workers, message) {
  const url = new URL('./thread.js', import.meta.url);
  const inNode = typeof Worker !== 'function';
  const Kind = inNode ? (await import(/* @vite-ignore */ /* webpackIgnore: true */ `node:${'worker_threads'}`)).Worker : Worker;
  const worker = new Kind(url, { type: 'module', execArgv: [] });
  workers.push(worker);
  await new Promise((resolve, reject) => {
    if (inNode) worker.once('message', resolve), worker.once('error', reject);
    else worker.onmessage = resolve, worker.onerror = reject;
    worker.postMessage(message);
  });
  worker.unref?.(); // an idle thread keeps no program of Node's alive
}
