// How long something takes where clocks are coarse: browsers round theirs to 5 us, 100 us or 1 ms.

const TICKS = 20; // of the clock that one measurement takes at least, so that rounding is 5 % of it
const MOST_BATCH = 1 << 16, PAUSE_MS = 50;
const PARTS = { min: 0, median: 0.5, p90: 0.9, p95: 0.95, p99: 0.99, max: 1 };

/** Times `work` over and over: its percentiles in ms, `batch` calls in a row being one measurement of their mean. */
export async function bench(work, { runs = 100, warmup = 10, signal, onProgress } = {}) {
  for (const [name, value, least] of [['runs', runs, 1], ['warmup', warmup, 0]])
    if (!Number.isInteger(value) || value < least || value > 1e6) throw new RangeError(`${name} has to be a whole number from ${least} to 1000000, not ${value}.`);
  const tick = resolution();
  const timed = (count) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) work();
    return performance.now() - start;
  };
  let paused = performance.now();
  const step = async (done) => {
    signal?.throwIfAborted();
    onProgress?.({ done, total: runs });
    if (performance.now() - paused < PAUSE_MS) return;
    await new Promise((resolve) => { setTimeout(resolve); }); // the page stays alive, and can cancel
    paused = performance.now();
  };
  for (let i = 0; i < warmup; i++) timed(1), await step(0);
  let batch = 1;
  const fastest = () => Math.min(timed(batch), timed(batch), timed(batch)); // not one that something else made long
  while (batch < MOST_BATCH && fastest() < TICKS * tick) batch *= 2, await step(0);
  const times = [];
  for (let i = 0; i < runs; i++) times.push(timed(batch) / batch), await step(i + 1);
  times.sort((a, b) => a - b);
  const figures = Object.entries(PARTS).map(([name, part]) => [`${name}_ms`, times[Math.floor((runs - 1) * part)]]);
  return { ...Object.fromEntries(figures), runs, warmup, batch, clock_ms: tick };
}

// The smallest step the clock makes.
function resolution() {
  let smallest = Infinity;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    smallest = Math.min(smallest, now - start);
  }
  return smallest;
}
