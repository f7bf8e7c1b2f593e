// The lower half of the page: every network in turn, timed in a worker that can be ended.
import { chart } from './chart.js';
import { deviceName } from './device.js';
import { complain, find, megabytes } from './shared.js';

const RUNS = 60, WARMUP = 10;

/** Makes the lower half work. */
export function measureHere(demo) {
  const rows = demo.networks.map((network) => rowOf(network));
  find('times').tBodies[0].append(...rows);
  const total = demo.networks.reduce((sum, network) => sum + network.bytes, 0);
  find('start').textContent = `Measure ${demo.networks.length} networks (fetches ${megabytes(total)})`;
  find('start').disabled = false;
  let run, results = [];
  find('start').addEventListener('click', async () => {
    run = new AbortController(), results = [];
    find('start').disabled = true, find('cancel').disabled = false, find('save').disabled = true;
    find('marked').hidden = find('figure').hidden = true;
    rows.forEach((row) => fill(row, ''));
    try {
      await measureAll(demo.networks, rows, run.signal, results);
    } catch (error) {
      if (error.name !== 'AbortError') complain(error);
    }
    find('progress-label').textContent = run.signal.aborted ? `Cancelled; ${results.length} measured.` : `Done: ${results.length} of ${demo.networks.length} measured.`;
    find('announce').textContent = find('progress-label').textContent;
    find('start').disabled = false, find('cancel').disabled = true, find('save').disabled = !results.length;
  });
  addEventListener('resize', () => { if (!find('figure').hidden) chart(find('chart'), results); });
  find('cancel').addEventListener('click', () => run?.abort());
  find('save').addEventListener('click', () => save(measurements(results, demo)));
}

async function measureAll(networks, rows, signal, results) {
  for (const [index, network] of networks.entries()) {
    const named = `${network.label} ${network.precision}`;
    const tell = (what, part) => {
      find('progress-label').textContent = `${index + 1} of ${networks.length}: ${named}, ${what}`;
      find('progress').value = (index + part) / networks.length;
    };
    tell(`fetching ${megabytes(network.bytes)}`, 0);
    find('announce').textContent = find('progress-label').textContent;
    let hidden = document.hidden;
    const watch = () => { hidden ||= document.hidden; };
    document.addEventListener('visibilitychange', watch);
    try {
      const measured = await inWorker(network, signal, tell);
      results.push({ network, hidden, ...measured });
      fill(rows[index], hidden ? 'marked: the tab was hidden' : noteOf(network), measured);
      if (hidden) find('marked').hidden = false;
      find('figure').hidden = false;
      find('figure').hidden = !chart(find('chart'), results);
    } catch (error) {
      if (signal.aborted) throw error;
      fill(rows[index], error.message); // the others are measured all the same
    } finally {
      document.removeEventListener('visibilitychange', watch);
    }
  }
  find('progress').value = 1;
}

// A worker of a blob inherits the policy of the page: it, too, can only fetch the page's own files.
function inWorker(network, signal, tell) {
  return new Promise((resolve, reject) => {
    const source = `import ${JSON.stringify(new URL('worker.js', import.meta.url).href)};`;
    const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
    const worker = new Worker(url, { type: 'module' });
    const end = (settle, value) => {
      worker.terminate();
      URL.revokeObjectURL(url);
      signal.removeEventListener('abort', stop);
      settle(value);
    };
    const stop = () => end(reject, signal.reason);
    signal.addEventListener('abort', stop);
    worker.onerror = (event) => end(reject, new Error(event.message || 'the worker could not be started'));
    worker.onmessage = ({ data }) => {
      if (data.progress) tell(...data.progress);
      else if (data.problem) end(reject, new Error(data.problem));
      else if (data.measured) end(resolve, data.measured);
      else worker.postMessage({ folder: new URL(network.folder, document.baseURI).href, runs: RUNS, warmup: WARMUP }); // it is ready
    };
  });
}

const noteOf = (network) => (network.weights === 'random' ? 'speed only: random weights' : '');

function rowOf(network) {
  const row = document.createElement('tr'), name = document.createElement('th');
  name.scope = 'row', name.textContent = `${network.label}, ${network.size} px`;
  row.append(name);
  for (const text of [network.precision, '', '', megabytes(network.bytes), '', '', noteOf(network)])
    row.append(Object.assign(document.createElement('td'), { textContent: text }));
  [2, 3, 4, 5, 6].forEach((cell) => row.cells[cell].classList.add('number'));
  return row;
}

function fill(row, note, measured) {
  for (const [cell, name] of [[2, 'median_ms'], [3, 'p90_ms'], [5, 'p99_ms'], [6, 'min_ms']]) row.cells[cell].textContent = measured ? measured[name].toFixed(2) : '';
  row.cells[7].textContent = note;
}

/** The measurements in the form of `repghost bench --on --json`, which `repghost report` takes as one more machine. */
export function measurements(results, demo) {
  const machine = deviceName(navigator), state = { clock_khz: null, temperature_c: null };
  return {
    format: 'repghost-board-latency', version: 1,
    results: results.map(({ network, hidden, ...it }) => ({
      board: 'browser', bundle: network.folder, bundle_digest: network.digest, program_digest: network.program_digest,
      model: network.name, width: network.width, size: network.size, target: 'web', precision: network.precision,
      measured: true,
      latencies: [{
        min_ms: it.min_ms, median_ms: it.median_ms, p90_ms: it.p90_ms, runs: it.runs, warmup: it.warmup,
        threads: it.threads, variant: it.variant, core: machine, clock: 'not reported by the browser', before: state,
        after: state, throttled: null,
        runner: { p95_ms: it.p95_ms, p99_ms: it.p99_ms, max_ms: it.max_ms, batch: it.batch, clock_ms: it.clock_ms, hidden, weights: network.weights, made_by: `repghost ${demo.release}` },
      }],
    })),
  };
}

function save(values) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(values, null, 2)], { type: 'application/json' }));
  link.download = 'repghost-browser.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
