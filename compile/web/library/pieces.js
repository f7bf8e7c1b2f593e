// What threads agree on: a few shared words, and how a piece of a step is taken.

/** The words. NEXT: the number of a step, and behind it that of the piece to take next. */
export const NEXT = 0, TASK = 1, DATA = 2, COUNT = 3, DONE = 4, FAILED = 5, STOPPED = 6, WORDS = 7;

/** Of one step; the numbers of a step and of a piece share a word, so that no piece is taken for one of another step. */
export const MOST_PIECES = 511;
const STRIDE = MOST_PIECES + 1;

/** The step that a word is about. */
export const stepOf = (word) => Math.floor(word / STRIDE);

/** Lets nobody take a piece of a step that is done, also while the words say the next one, which may have more. */
export const endStep = (control, step) => Atomics.store(control, NEXT, step * STRIDE + MOST_PIECES);

/** Says a step; its pieces can be taken from now on. */
export function beginStep(control, step, task, data, count) {
  control[TASK] = task, control[DATA] = data, control[COUNT] = count, control[DONE] = 0;
  Atomics.store(control, NEXT, step * STRIDE);
  Atomics.notify(control, NEXT);
}

/** Does pieces of a step until all are taken. What is read of the step holds while one of its pieces is not done. */
export function takePieces(control, table, step) {
  for (;;) {
    const word = Atomics.load(control, NEXT), piece = word % STRIDE;
    if (stepOf(word) !== step) return;
    const task = control[TASK], data = control[DATA];
    if (piece >= control[COUNT]) return;
    if (Atomics.compareExchange(control, NEXT, word, word + 1) !== word) continue;
    try {
      table.get(task)(data, piece);
    } catch {
      Atomics.store(control, FAILED, 1);
    }
    Atomics.add(control, DONE, 1);
  }
}
