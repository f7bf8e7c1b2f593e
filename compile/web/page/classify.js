// The upper half of the page: a picture or the camera, and the best classes.
import { complain, find, megabytes, sentence } from './shared.js';

const BEST = 5, SPOKEN_MS = 3000; // how often a screen reader hears what the camera sees

/** Makes the upper half work with the networks that are trained. */
export function classifyHere(networks, load) {
  const trained = networks.filter((network) => network.weights !== 'random');
  const select = find('network');
  for (const network of trained) select.add(new Option(`${network.label}, ${network.precision}, ${network.size} px`, network.folder));
  if (!trained.length) {
    find('state').textContent = 'The networks here have random weights: they can be measured, not used.';
    return;
  }
  const view = new Classifier(trained, load);
  select.disabled = find('file').disabled = false;
  find('camera').disabled = !navigator.mediaDevices?.getUserMedia;
  if (find('camera').disabled) find('camera').title = 'This browser gives no camera here; https or localhost is needed.';
  select.addEventListener('change', () => view.choose(select.value));
  find('file').addEventListener('change', ({ target }) => target.files[0] && view.showFile(target.files[0]));
  find('camera').addEventListener('click', () => (view.stream ? view.stopCamera('The camera is off.') : view.startCamera()));
  dropped(find('drop'), (file) => view.showFile(file));
  view.choose(select.value);
}

function dropped(place, use) {
  const over = (event, is) => { event.preventDefault(); place.classList.toggle('over', is); };
  place.addEventListener('dragover', (event) => over(event, true));
  place.addEventListener('dragleave', (event) => over(event, false));
  place.addEventListener('drop', (event) => {
    over(event, false);
    const file = event.dataTransfer.files[0];
    if (file) use(file);
    else find('state').textContent = 'That was no file. Save the picture first, then drop the file.';
  });
}

class Classifier {
  constructor(networks, load) {
    this.networks = networks, this.load = load;
    this.image = this.stream = this.model = undefined;
    this.spoken = -Infinity;
  }

  /** Says what a network is; it is fetched with the first picture. */
  async choose(folder) {
    const network = this.networks.find((it) => it.folder === folder);
    this.model?.then((model) => model.close(), () => {});
    this.model = undefined;
    this.network = network;
    find('about-network').textContent = `${megabytes(network.bytes)}, ${network.classes} classes; fetched with the first picture`;
    if (this.image) await this.classify(this.image);
  }

  async showFile(file) {
    this.stopCamera();
    const image = find('image');
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(file);
    image.hidden = false;
    image.onerror = () => { image.hidden = true; };
    this.image = file;
    await this.classify(file);
  }

  async startCamera() {
    find('state').textContent = 'The browser asks whether this page may use the camera.';
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 640 } } });
    } catch (error) {
      const why = { NotAllowedError: 'it was refused', NotFoundError: 'this device has none', NotReadableError: 'another program uses it' };
      find('state').textContent = `No camera: ${why[error.name] ?? error.message}. Choose a picture instead.`;
      return;
    }
    const [track] = this.stream.getVideoTracks(), video = find('video');
    track.addEventListener('ended', () => this.stopCamera('The camera is gone.'));
    video.srcObject = this.stream;
    find('image').hidden = true, video.hidden = false, this.image = undefined;
    find('camera').textContent = 'Stop the camera';
    find('camera').setAttribute('aria-pressed', 'true');
    await video.play().catch(() => {});
    const stream = this.stream;
    while (this.stream === stream) {
      if (video.videoWidth && !document.hidden && !await this.classify(video)) break;
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
    if (this.stream === stream) this.stopCamera();
  }

  stopCamera(said) {
    if (!this.stream) return;
    this.stream.getTracks().forEach((track) => track.stop());
    this.stream = undefined;
    find('video').srcObject = null, find('video').hidden = true;
    find('camera').textContent = 'Use the camera';
    find('camera').setAttribute('aria-pressed', 'false');
    if (said) find('state').textContent = said;
  }

  /** Shows the best classes; returns whether that went well. A picture that was replaced meanwhile is not shown. */
  async classify(image) {
    const network = this.network;
    try {
      if (!this.model) {
        find('state').textContent = `Fetching ${megabytes(network.bytes)} ...`;
        this.model = this.load(network.folder);
        this.model.then(() => { find('about-network').textContent = `${network.classes} classes`; }, () => {});
      }
      const model = await this.model, start = performance.now();
      const best = await model.top(image, BEST), took = performance.now() - start;
      if (network !== this.network || (image instanceof Blob && image !== this.image)) return true;
      show(best);
      const now = performance.now();
      if (image instanceof Blob || now - this.spoken > SPOKEN_MS) {
        find('state').textContent = `${best[0].label}, ${(best[0].probability * 100).toFixed(1)} %, in ${took.toFixed(1)} ms with decoding and resizing.`;
        this.spoken = now;
      }
      return true;
    } catch (error) {
      if (network !== this.network) return true;
      if (error.code === 'download' || error.code === 'integrity') this.model = undefined; // the next picture tries again
      find('scores').hidden = true;
      find('state').textContent = sentence(error);
      if (!error.code) complain(error);
      return false;
    }
  }
}

function show(best) {
  const body = find('scores').tBodies[0];
  body.replaceChildren(...best.map(({ label, probability, logit }) => {
    const row = document.createElement('tr'), name = document.createElement('th');
    name.scope = 'row', name.textContent = label;
    const meter = Object.assign(document.createElement('meter'), { min: 0, max: 1, value: probability, ariaHidden: 'true' });
    const share = document.createElement('td'), score = document.createElement('td');
    share.className = score.className = 'number';
    share.append(meter, ` ${(probability * 100).toFixed(1)} %`);
    score.textContent = logit.toFixed(3);
    row.append(name, share, score);
    return row;
  }));
  find('scores').hidden = false;
}
