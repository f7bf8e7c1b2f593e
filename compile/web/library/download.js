// The files of a bundle: fetched, or read from a disk under Node, within the sizes its manifest says, and compared with
// the digests it says before anything is made of them.
import { sha256 } from './digest.js';

const MANIFEST_LIMIT = 16 << 20, FILE_LIMIT = 1 << 30; // bytes
const STALLED_MS = 30_000; // a server that sends nothing for so long is given up

/** What this library says when it refuses. `code` is one of download, integrity, unsupported, image, memory, closed. */
export class RepghostError extends Error {
  constructor(code, message, cause) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'RepghostError';
    this.code = code;
  }
}

/** The folder of a bundle: its manifest, and its files by name. */
export async function openFolder(place, { signal } = {}) {
  const folder = await folderUrl(place);
  const bytes = await readUpTo(new URL('manifest.json', folder), MANIFEST_LIMIT, { signal, cache: 'no-cache' });
  const manifest = checkManifest(bytes, folder);
  return {
    url: folder,
    manifest,
    has: (name) => Object.hasOwn(manifest.files, name),
    size: (name) => manifest.files[name].size,
    read: (name, options) => readChecked(folder, manifest, name, options),
  };
}

const inNode = () => typeof process === 'object' && Boolean(process.versions?.node);

async function folderUrl(place) {
  let text = String(place).replace(/manifest\.json$/, '');
  if (!text.endsWith('/')) text += '/';
  if (inNode() && !/^[a-z][a-z0-9+.-]+:/i.test(text)) {
    const [path, url] = [await nodeModule('path'), await nodeModule('url')];
    return url.pathToFileURL(path.resolve(text) + '/');
  }
  return new URL(text, globalThis.document?.baseURI ?? globalThis.location?.href);
}

// The name is put together so that bundlers for browsers do not look for it.
const nodeModule = (name) => import(/* @vite-ignore */ /* webpackIgnore: true */ `node:${name}`);

function checkManifest(bytes, folder) {
  const where = new URL('manifest.json', folder).href;
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new RepghostError('integrity', `${where} is no JSON; give the folder of a bundle made with --target web.`, error);
  }
  if (manifest?.format !== 'repghost-bundle' || ![1, 2].includes(manifest.version) || typeof manifest.files !== 'object' ||
      !Array.isArray(manifest.variants))
    throw new RepghostError('integrity', `${where} describes no bundle of version 1 or 2.`);
  if (manifest.target?.name !== 'web' || manifest.abi !== manifest.version + 1) // of several results both are one more
    throw new RepghostError('integrity', `${where} is a bundle for ${JSON.stringify(manifest.target?.name)}, interface ` +
      `${JSON.stringify(manifest.abi)}; a browser runs --target web, interface ${manifest.version + 1}. Compile it for web.`);
  for (const [name, file] of Object.entries(manifest.files)) {
    const fits = Number.isSafeInteger(file?.size) && file.size >= 0 && file.size <= FILE_LIMIT;
    if (!fits || !/^[0-9a-f]{64}$/.test(file.sha256) || /[/\\]|^\.\.?$/.test(name))
      throw new RepghostError('integrity', `${where} says no size and digest for ${JSON.stringify(name)}.`);
  }
  return manifest;
}

async function readChecked(folder, manifest, name, { signal, onBytes } = {}) {
  if (!Object.hasOwn(manifest.files, name)) throw new RepghostError('integrity', `the bundle ${folder} has no ${name}.`);
  const url = new URL(encodeURIComponent(name), folder), file = manifest.files[name];
  try {
    return await readOnce(url, file, { signal, onBytes });
  } catch (error) {
    if (error.code !== 'integrity' || url.protocol === 'file:') throw error;
    return readOnce(url, file, { signal, cache: 'reload' }); // a cache may hold the file of an earlier bundle
  }
}

async function readOnce(url, { size, sha256: expected }, options) {
  const bytes = await readUpTo(url, size, options);
  if (bytes.length !== size)
    throw new RepghostError('download', `${url.href} has ${bytes.length} bytes of ${size}: the download was cut off. Try again.`);
  if (await sha256(bytes) !== expected)
    throw new RepghostError('integrity', `${url.href} is not the file its manifest names: its digest differs, and it was ` +
      'not used. Copy the whole bundle again.');
  return bytes;
}

async function readUpTo(url, limit, options) {
  options.signal?.throwIfAborted();
  return url.protocol === 'file:' && inNode() ? readFile(url, limit, options.signal) : fetchUpTo(url, limit, options);
}

async function readFile(url, limit, signal) {
  const fs = await nodeModule('fs/promises');
  try {
    const { size } = await fs.stat(url);
    if (size > limit) throw tooLong(url, limit);
    return new Uint8Array(await fs.readFile(url, { signal }));
  } catch (error) {
    if (error instanceof RepghostError || error.name === 'AbortError') throw error;
    throw new RepghostError('download', `${url.href} cannot be read: ${error.message}`, error);
  }
}

const tooLong = (url, limit) =>
  new RepghostError('integrity', `${url.href} is longer than the ${limit} bytes it may have; it was not used.`);

async function fetchUpTo(url, limit, { signal, onBytes, cache = 'default' }) {
  const stop = new AbortController();
  const giveUp = () => stop.abort(signal.reason);
  signal?.addEventListener('abort', giveUp);
  let timer, got = 0;
  const awake = () => {
    clearTimeout(timer);
    timer = setTimeout(() => stop.abort(new RepghostError('download',
      `${url.href} sent nothing for ${STALLED_MS / 1000} s, after ${got} bytes. Check the network, then try again.`)), STALLED_MS);
  };
  try {
    awake();
    const response = await fetch(url, { signal: stop.signal, cache });
    if (!response.ok) throw new RepghostError('download', `${url.href} cannot be fetched: the server answered ${response.status}.`);
    const chunks = [], reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      awake();
      got += value.length;
      if (got > limit) {
        stop.abort();
        throw tooLong(url, limit);
      }
      chunks.push(value);
      onBytes?.(value.length);
    }
    return joined(chunks, got);
  } catch (error) {
    if (stop.signal.aborted && !(error instanceof RepghostError)) throw stop.signal.reason;
    if (error instanceof RepghostError) throw error;
    throw new RepghostError('download', `${url.href} broke off after ${got} bytes: ${error.message}. Check the network, then try again.`, error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}

function joined(chunks, size) {
  const all = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) all.set(chunk, at), at += chunk.length;
  return all;
}
