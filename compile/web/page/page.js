// The page: what it shows of demo.json, and its two halves.
import { isSupported, load, RepghostError } from './library/repghost.js';
import { classifyHere } from './classify.js';
import { measureHere } from './measure.js';
import { complain } from './shared.js';

async function begin() {
  if (!isSupported()) {
    throw new RepghostError('unsupported', 'This browser has no WebAssembly with SIMD, which the networks need. Chrome 91, Firefox 89 and Safari 16.4 or newer have it.');
  }
  const response = await fetch('demo.json');
  if (!response.ok) throw new RepghostError('download', `demo.json cannot be fetched: the server answered ${response.status}.`);
  const demo = await response.json();
  classifyHere(demo.networks, load);
  measureHere(demo);
  // Offline after the first visit; where the browser or the address allows none, the page works without it.
  if (isSecureContext) navigator.serviceWorker?.register('offline.js').catch(() => {});
}

begin().catch((error) => complain(error instanceof TypeError
  ? new RepghostError('download', `demo.json cannot be fetched: ${error.message}. Serve this folder: python -m http.server -d build/demo`)
  : error));
