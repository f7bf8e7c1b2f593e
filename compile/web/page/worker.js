// Loads one network and times it; the page ends this worker when it is done, or when the visitor cancels.
import { load } from './library/repghost.js';

onmessage = async ({ data: { folder, runs, warmup } }) => {
  const tell = (what, part) => postMessage({ progress: [what, part] });
  try {
    const model = await load(folder, { onProgress: ({ loaded, total }) => tell('fetching', loaded / total / 2) });
    const measured = await model.bench({ runs, warmup, onProgress: ({ done, total }) => tell(`measured ${done} times`, 0.5 + done / total / 2) });
    postMessage({ measured });
  } catch (error) {
    postMessage({ problem: error.message });
  }
};
postMessage({});
