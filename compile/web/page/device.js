// What this device is called in a measurement: browser, system and cores, as far as browsers say.

const BROWSERS = [['Edg', 'Edge'], ['OPR', 'Opera'], ['SamsungBrowser', 'Samsung Internet'], ['Firefox', 'Firefox'],
  ['FxiOS', 'Firefox'], ['CriOS', 'Chrome'], ['HeadlessChrome', 'Chromium'], ['Chrome', 'Chrome'], ['Version', 'Safari']];
const SYSTEMS = [['Android', /Android/], ['iOS', /iPhone|iPad/], ['Windows', /Windows/], ['macOS', /Macintosh/], ['ChromeOS', /CrOS/], ['Linux', /Linux/]];

/** E.g. "Chrome 143 on Android (8 cores)"; letters, digits and little else, whatever a browser says of itself. */
export function deviceName({ userAgent = '', hardwareConcurrency }) {
  const found = BROWSERS.find(([mark]) => userAgent.includes(`${mark}/`));
  const version = found && new RegExp(`${found[0]}/([0-9]{1,4})`).exec(userAgent);
  const browser = version ? `${found[1]} ${version[1]}` : 'a browser';
  const system = SYSTEMS.find(([, pattern]) => pattern.test(userAgent))?.[0] ?? 'an unknown system';
  const cores = Number.isInteger(hardwareConcurrency) ? ` (${hardwareConcurrency} cores)` : '';
  return `${browser} on ${system}${cores}`;
}
