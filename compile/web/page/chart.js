// The figure: published top-1 against the median of this device, one line per precision.

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 380, LEFT = 52, RIGHT = 24, TOP = 16, BOTTOM = 46;
const LABEL = 46; // room between the axis and 0 ms: labels of int8 stand to the left of their points

function node(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// About five round numbers from the least to the most.
function ticks(least, most) {
  const rough = (most - least) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((it) => it >= rough);
  const first = Math.ceil(least / step);
  return Array.from({ length: Math.floor(most / step) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

/** Draws the figure into a place; returns whether there was anything to draw. */
export function chart(place, results) {
  const points = results.filter(({ network, hidden }) => network.top1 !== null && !hidden);
  if (!points.length) return false;
  const width = Math.min(640, Math.max(320, place.clientWidth || 640)); // a unit is a pixel: text stays legible
  const most = Math.max(...points.map((it) => it.median_ms)) * 1.15 || 1;
  const tops = points.map((it) => it.network.top1), low = Math.min(...tops) - 2, high = Math.max(...tops) + 2;
  const x = (ms) => LEFT + LABEL + ms / most * (width - LEFT - LABEL - RIGHT);
  const y = (top) => HEIGHT - BOTTOM - (top - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
  const said = points.map((it) => `${it.network.label} ${it.network.precision}: ${it.network.top1.toFixed(1)} % at ${it.median_ms.toFixed(2)} ms`).join('; ');
  const svg = node('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': `Published top-1 against latency here. ${said}` });
  svg.append(node('path', { class: 'axis', d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${width - RIGHT}` }));
  for (const ms of ticks(0, most)) svg.append(node('text', { x: x(ms), y: HEIGHT - BOTTOM + 18, 'text-anchor': 'middle' }, ms));
  for (const top of ticks(low, high)) svg.append(node('text', { x: LEFT - 8, y: y(top) + 4, 'text-anchor': 'end' }, top));
  svg.append(node('text', { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 8, 'text-anchor': 'middle' }, 'median of one inference on this device, ms'));
  svg.append(node('text', { x: LEFT + 8, y: TOP + 10 }, 'top-1, %'));
  [...new Set(points.map((it) => it.network.precision))].forEach((precision, line) => {
    const own = points.filter((it) => it.network.precision === precision).sort((a, b) => a.network.width - b.network.width);
    svg.append(node('path', { class: precision, d: own.map((it, i) => `${i ? 'L' : 'M'}${x(it.median_ms)} ${y(it.network.top1)}`).join('') }));
    for (const it of own) {
      const shape = precision === 'int8' ? node('circle', { class: precision, r: 4.5, cx: x(it.median_ms), cy: y(it.network.top1) })
        : node('rect', { class: precision, width: 9, height: 9, x: x(it.median_ms) - 4.5, y: y(it.network.top1) - 4.5 });
      shape.append(node('title', {}, `${it.network.label} ${precision}: ${it.median_ms.toFixed(2)} ms`));
      svg.append(shape);
      const left = precision === 'int8';
      svg.append(node('text', { x: x(it.median_ms) + (left ? -8 : 8), y: y(it.network.top1) + (left ? -6 : 14), 'text-anchor': left ? 'end' : 'start' }, it.network.label));
    }
    svg.append(node('text', { x: width - RIGHT, y: HEIGHT - BOTTOM - 30 + 18 * line, 'text-anchor': 'end' }, `${precision === 'int8' ? '\u25cf' : '\u25a1'} ${precision}`));
  });
  place.replaceChildren(svg);
  return true;
}
