// Verifies or measures a bundle for the web under Node, with the options and answers of repghost-run on a board.
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { load, RepghostError } from './repghost.js';

const USAGE = `usage: node repghost-run.mjs COMMAND [--bundle DIR]
  --verify             check every digest, then replay the recorded pictures
  --bench              measure one inference: [--runs N] [--warmup N]
  --threads N          to divide it over
  --classify PICTURE   the five best classes of a JPEG or PNG file: [--top N]
  --detect PICTURE     the boxes that a detector finds on one
  --variant NAME       the instruction set: of manifest.json's variants the fastest that runs here`;
const EXIT = { usage: 2, unsupported: 4, integrity: 6, other: 1 };
const OPTIONS = {
  bundle: { type: 'string' }, verify: { type: 'boolean' }, bench: { type: 'boolean' }, classify: { type: 'string' }, detect: { type: 'string' },
  runs: { type: 'string', default: '100' }, warmup: { type: 'string', default: '10' }, top: { type: 'string', default: '5' },
  threads: { type: 'string', default: '1' }, variant: { type: 'string' }, help: { type: 'boolean' },
};

function stop(code, message) {
  console.error(message);
  process.exit(code);
}

function readOptions() {
  try {
    const { values } = parseArgs({ options: OPTIONS });
    if (values.help) stop(0, USAGE);
    if (['verify', 'bench', 'classify', 'detect'].filter((name) => values[name] !== undefined).length !== 1)
      throw new Error('one of --verify, --bench, --classify and --detect has to be given.');
    for (const name of ['runs', 'warmup', 'top', 'threads'])
      if (!/^\d{1,6}$/.test(values[name])) throw new Error(`--${name} has to be a number, not ${JSON.stringify(values[name])}.`);
    return values;
  } catch (error) {
    return stop(EXIT.usage, `repghost-run.mjs: ${error.message}\n${USAGE}`);
  }
}

async function readPicture(path) {
  try {
    return await readFile(path);
  } catch (error) {
    throw new RepghostError('image', `cannot read ${path}: ${error.message}.`, error);
  }
}

async function answer(options) {
  const asked = { threads: Number(options.threads), variant: options.variant };
  const model = await load(options.bundle ?? new URL('./', import.meta.url), asked);
  const { variant, threads } = model;
  if (options.verify) {
    const { pictures, mismatches, largest, tolerance } = await model.verify();
    return { command: 'verify', ok: mismatches === 0, variant, threads, pictures, mismatches, tolerance, largest_difference: largest };
  }
  if (options.bench)
    return { command: 'bench', ...await model.bench({ runs: Number(options.runs), warmup: Number(options.warmup) }) };
  if (options.detect !== undefined)
    return { command: 'detect', picture: options.detect, variant, boxes: await model.detect(await readPicture(options.detect)) };
  const best = await model.top(await readPicture(options.classify), Number(options.top));
  const top = best.map(({ index, label, logit, probability }) => ({ class: index, label, logit, probability }));
  return { command: 'classify', picture: options.classify, variant, top };
}

try {
  const result = await answer(readOptions());
  console.log(JSON.stringify(result));
  if (result.ok === false) process.exitCode = EXIT.integrity;
} catch (error) {
  const refused = EXIT[error.code] ?? (error.code === 'download' ? EXIT.integrity : EXIT.usage);
  const code = error instanceof RepghostError ? refused : error instanceof RangeError ? EXIT.usage : EXIT.other;
  stop(code, `repghost-run.mjs: ${error.message}`);
}
