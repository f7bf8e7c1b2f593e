// One way to run a network for each runtime: it loads the runtime, in one thread, and a file, and gives
// { version, feed(image), run() }; `run` is one inference of what was fed last.

const packages = new URL('./node_modules/', location.href).href;
const version = async (name) => (await (await fetch(`${packages}${name}/package.json`)).json()).version;

async function repghost({ file }) {
  const { load } = await import(new URL(`${file}/repghost.js`, location.href));
  const model = await load(new URL(`${file}/`, location.href));
  let rgb;
  return {
    version: model.manifest.generator ?? '', variant: model.variant, download_ms: model.timings.download_ms,
    feed: (image) => { rgb = image.rgb; },
    run: async () => model.logits(rgb),
    verify: () => model.verify(),
  };
}

async function onnxruntime({ file }) {
  const ort = await import(`${packages}onnxruntime-web/dist/ort.wasm.min.mjs`);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = `${packages}onnxruntime-web/dist/`;
  const session = await ort.InferenceSession.create(file, { executionProviders: ['wasm'], graphOptimizationLevel: 'all' });
  const [input] = session.inputNames, [output] = session.outputNames;
  let data, shape;
  return {
    version: ort.env.versions.web,
    feed: ({ first, height, width, channels }) => { data = first, shape = [1, channels, height, width]; },
    run: async () => (await session.run({ [input]: new ort.Tensor('float32', data, shape) }))[output].data,
  };
}

async function litert({ file }) {
  const { loadLiteRt, loadAndCompile, getGlobalLiteRtPromise, Tensor } =
    await import(`${packages}@litertjs/core/dist/index.js`);
  await (getGlobalLiteRtPromise() ?? loadLiteRt(`${packages}@litertjs/core/wasm/`));
  const model = await loadAndCompile(file, { accelerator: 'wasm', cpuOptions: { numThreads: 1 } });
  let data, shape;
  return {
    version: await version('@litertjs/core'),
    feed: ({ last, height, width, channels }) => { data = last, shape = [1, height, width, channels]; },
    run: async () => {
      const tensor = new Tensor(data, shape), [result] = await model.run([tensor]);
      const scores = (await result.data()).slice();
      result.delete(), tensor.delete();
      return scores;
    },
  };
}

const script = (place) => new Promise((resolve, reject) => {
  const element = Object.assign(document.createElement('script'), { src: `${packages}${place}`, onload: resolve });
  element.onerror = () => reject(new Error(`${place} cannot be loaded`));
  document.head.append(element);
});

async function tfjs({ file }) {
  await script('@tensorflow/tfjs-core/dist/tf-core.min.js');
  await Promise.all(['converter', 'backend-wasm'].map((it) => script(`@tensorflow/tfjs-${it}/dist/tf-${it}.min.js`)));
  tf.wasm.setWasmPaths(`${packages}@tensorflow/tfjs-backend-wasm/dist/`);
  tf.wasm.setThreadsCount(1);
  await tf.setBackend('wasm');
  const model = await tf.loadGraphModel(new URL(file, location.href).href);
  let data, shape;
  return {
    version: tf.version_core,
    feed: ({ last, height, width, channels }) => { data = last, shape = [1, height, width, channels]; },
    run: async () => {
      const tensor = tf.tensor(data, shape), result = model.predict(tensor);
      const scores = await result.data();
      tensor.dispose(), result.dispose();
      return scores;
    },
  };
}

export const runtimes = { repghost, onnxruntime, litert, tfjs };
