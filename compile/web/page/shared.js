// What both halves of the page use.
import { RepghostError } from './library/repghost.js';

/** An element of the page. */
export const find = (id) => document.getElementById(id);

/** What to tell a visitor of an error. */
export const sentence = (error) => (error instanceof RepghostError || error instanceof RangeError ? error.message : `${error.name}: ${error.message}`);

/** Shows what went wrong at the top of the page; nothing hides it. */
export function complain(error) {
  find('problem').textContent = sentence(error);
  find('problem').hidden = false;
}

/** Bytes for readers. */
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)} MB`;
