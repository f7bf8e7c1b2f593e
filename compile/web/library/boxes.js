// From the numbers that a detector gives to boxes, to the bit as repghost/detection/find_boxes.py does, which defines it:
// float64, one rounded operation after the other, and an exponential of its own.
import { RepghostError } from './download.js';

const MOST_CLASSES = 1000, MOST_LEVELS = 16, MOST_SHAPES = 64, MOST_SIDE = 1 << 12, MOST_ANCHORS = 1 << 20, MOST_KEPT = 1000;
const LARGEST_STRETCH = 4.135166556742356, LOWEST = -700;
const LOG2_E = 1.4426950408889634, LN2_HIGH = 0.6931471803691238, LN2_LOW = 1.9082149292705877e-10;
const TO_WHOLE = 1.5 * 2 ** 52; // added and taken away again, it rounds to the nearest whole number, ties to even
const INVERSE_FACTORIALS = Array.from({ length: 14 }, (_, n) => {
  let factorial = 1; // exact
  for (let i = 2; i <= n; i++) factorial *= i;
  return 1 / factorial;
});
const MARGIN = 1e-6;
const power = new Float64Array(1), bits = new Uint32Array(power.buffer);

const isWhole = (value, most) => Number.isInteger(value) && value >= 1 && value <= most;
const isShare = (value, most) => typeof value === 'number' && value >= 0 && value <= most;

/** Checks what a bundle says of its boxes, for a network that gives so many numbers. */
export function readRule(rule, numbers) {
  const wrong = (why) => new RepghostError('integrity', `the bundle describes its boxes wrongly: ${why}.`);
  if (rule?.version !== 1) throw wrong('they are of another version');
  const { classes, candidates, detections, score, overlap, levels } = rule;
  if (!isWhole(classes, MOST_CLASSES) || !isWhole(candidates, MOST_KEPT) || !isWhole(detections, MOST_KEPT)) throw wrong('a number is out of range');
  if (!isShare(score, 1) || !isShare(overlap, 1) || !overlap) throw wrong('a share is out of range');
  if (!Array.isArray(levels) || !isWhole(levels.length, MOST_LEVELS)) throw wrong('it has no levels, or too many');
  let count = 0;
  for (const { rows, columns, anchors } of levels) {
    if (!isWhole(rows, MOST_SIDE) || !isWhole(columns, MOST_SIDE) || !Array.isArray(anchors) || !isWhole(anchors.length, MOST_SHAPES)) throw wrong('a level is out of range');
    if (!anchors.every((pair) => pair?.length === 2 && [...pair].every((side) => isShare(side, 16) && side))) throw wrong('an anchor is out of range');
    count += rows * columns * anchors.length;
  }
  if (count > MOST_ANCHORS || count * (classes + 5) !== numbers) throw wrong('it does not fit the numbers of the network');
  return { ...rule, grid: grid(levels, count), count };
}

// Centre x and y, width and height of each anchor.
function grid(levels, count) {
  const found = new Float64Array(count * 4);
  let at = 0;
  for (const { rows, columns, anchors } of levels)
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < columns; x++)
        for (const [width, height] of anchors) found.set([(x + 0.5) / columns, (y + 0.5) / rows, width, height], at), at += 4;
  return found;
}

/** e to the power of a number up to 10. */
export function exponential(x) {
  if (x < LOWEST) return 0;
  const turns = x * LOG2_E + TO_WHOLE - TO_WHOLE, rest = (x - turns * LN2_HIGH) - turns * LN2_LOW;
  let value = INVERSE_FACTORIALS[13];
  for (let term = 12; term >= 0; term--) value = value * rest + INVERSE_FACTORIALS[term];
  bits[1] = (turns + 1023) << 20; // 2 to the power of turns, exactly
  return value * power[0];
}

// The largest score of each anchor and the sum of its exponentials; 0 where a score is not finite.
function softmaxes(numbers, { count, classes }) {
  const best = new Float64Array(count), total = new Float64Array(count), columns = classes + 1;
  for (let i = 0, at = 0; i < count; i++, at += columns) {
    let largest = -Infinity, finite = true, sum = 0;
    for (let c = at; c < at + columns; c++) {
      finite &&= Number.isFinite(numbers[c]);
      if (numbers[c] > largest) largest = numbers[c];
    }
    if (!finite) continue;
    for (let c = at; c < at + columns; c++) sum += exponential(numbers[c] - largest);
    best[i] = largest, total[i] = sum;
  }
  return { best, total };
}

const within = (value) => Math.min(Math.max(value, 0), 1);

// Left, top, right and bottom of a moved anchor, without a side where a move is not finite.
function decode(moves, at, anchors) {
  if (![0, 1, 2, 3].every((i) => Number.isFinite(moves[at + i]))) return [0, 0, 0, 0];
  const edges = [0, 0, 0, 0];
  for (let axis = 0; axis < 2; axis++) {
    const length = anchors[at + 2 + axis], centre = moves[at + axis] / 10 * length + anchors[at + axis];
    const side = exponential(Math.min(moves[at + 2 + axis] / 5, LARGEST_STRETCH)) * length;
    edges[axis] = within(centre - side * 0.5), edges[2 + axis] = within(centre + side * 0.5);
  }
  return edges;
}

const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);

function overlaps(a, b, share) {
  const width = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0);
  const height = Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const shared = width * height;
  return shared > share * (area(a) + area(b) - shared);
}

/** The boxes of one image, the most probable first: {label from 1, anchor, score, edges as shares of the image}. */
export function findBoxes(rule, numbers) {
  const columns = rule.classes + 1, moves = numbers.subarray(rule.count * columns), { best, total } = softmaxes(numbers, rule);
  const least = rule.score > 0 ? Math.log(rule.score) - MARGIN : -Infinity; // a total is at least 1
  let found = [];
  for (let label = 1; label <= rule.classes; label++) {
    let candidates = [];
    for (let anchor = 0; anchor < rule.count; anchor++) {
      const distance = numbers[anchor * columns + label] - best[anchor];
      if (!total[anchor] || distance < least) continue;
      const score = exponential(distance) / total[anchor];
      if (score > rule.score) candidates.push({ label, anchor, score });
    }
    candidates = candidates.sort((a, b) => b.score - a.score || a.anchor - b.anchor).slice(0, rule.candidates);
    const kept = [];
    for (const box of candidates) {
      const edges = decode(moves, box.anchor * 4, rule.grid);
      if (area(edges) > 0 && !kept.some((other) => overlaps(other.edges, edges, rule.overlap))) kept.push({ ...box, edges });
    }
    found = [...found, ...kept].sort((a, b) => b.score - a.score || a.label - b.label || a.anchor - b.anchor).slice(0, rule.detections);
  }
  return found;
}
