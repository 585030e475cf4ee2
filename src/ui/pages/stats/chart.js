// Calls over time as bars, and the part of them that was answered as a line. Whoever does not see it has the table
// beneath, which says the same.

import { go, withQuery } from '../../route.js';
import { Failure, Loading } from '../../parts.js';
import { html, signal, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../../view.js';
import { count, share } from '../../words.js';
import { markOf, nameOf } from './span.js';

/** @typedef {import('./span.js').Bucket} Bucket */

const HEIGHT = 280;
const STEPS = [1, 2, 3, 4, 6, 7, 12, 14, 28, 56];
/** Room that a name below a bar needs, in pixels. */
const ROOM = 76;
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];
const FONT = '12px system-ui, sans-serif';
const dark = matchMedia('(prefers-color-scheme: dark)');

/** What the marks of the legend are for; the bars and the line take their colours from there. */
const MARKS = [
  { mark: 'answered', name: 'Answered' },
  { mark: 'missed', name: 'Missed' },
  { mark: 'other', name: 'Other (not reached, or still going on)' },
  { mark: 'rate', name: 'Answer rate' },
];

/** The library and its style are had when a chart is first shown. */
async function library() {
  const address = new URL('../../vendor/uplot.css', import.meta.url).href;
  if (![...document.styleSheets].some((sheet) => sheet.href === address)) {
    const link = document.createElement('link');
    link.rel = 'stylesheet';
    link.href = address;
    document.head.append(link);
  }
  return (await import('uplot')).default;
}

/** Each bar is drawn over the taller one behind it, which so shows as the part above. @param {Bucket[]} buckets */
const dataOf = (buckets) => [
  buckets.map((_, index) => index),
  buckets.map(({ calls }) => calls),
  buckets.map(({ answered, missed }) => answered + missed),
  buckets.map(({ answered }) => answered),
  buckets.map(({ answer_rate }) => answer_rate),
];

/**
 * The bars whose names are shown: those at which a day begins, or some of the hours of one day.
 * @param {Bucket[]} buckets @param {number} width
 */
function named(buckets, width) {
  const all = buckets.map((_, index) => index);
  const days = all.filter((index) => !buckets[index].hour);
  const candidates = days.length > 2 ? days : all;
  const most = Math.max(1, Math.floor(width / ROOM));
  const step = STEPS.find((every) => candidates.length / every <= most) ?? candidates.length;
  return candidates.filter((_, index) => index % step === 0);
}

/** Stripes, so that what was missed is told from what was answered without its colour. @param {string} colour @param {string} ground */
function striped(colour, ground) {
  const tile = document.createElement('canvas');
  tile.width = tile.height = 8;
  const paint = tile.getContext('2d');
  if (!paint) return colour;
  paint.fillStyle = ground;
  paint.fillRect(0, 0, 8, 8);
  paint.strokeStyle = colour;
  paint.lineWidth = 3;
  paint.beginPath();
  for (const from of [-8, 0, 8]) {
    paint.moveTo(from, 8);
    paint.lineTo(from + 8, 0);
  }
  paint.stroke();
  return paint.createPattern(tile, 'repeat') ?? colour;
}

/**
 * @param {any} uPlot
 * @param {HTMLElement} box
 * @param {{ current: Bucket[] }} buckets
 * @param {import('@preact/signals').Signal<number | null>} pointed
 */
function draw(uPlot, box, buckets, pointed) {
  const colour = (/** @type {string} */ mark) => {
    const element = box.parentElement?.querySelector(`[data-mark=${mark}]`);
    return getComputedStyle(element ?? box).color;
  };
  const style = getComputedStyle(box);
  const axis = { stroke: style.color, font: FONT, ticks: { show: false }, grid: { stroke: style.borderTopColor, width: 1 } };
  // What is behind is a little narrower, or it would show beside what is before it.
  const bar = (/** @type {number} */ part, /** @type {number} */ most) => ({ paths: uPlot.paths.bars({ size: [part, most], radius: 0.08 }), width: 0, points: { show: false } });
  const ground = style.backgroundColor;
  return new uPlot({
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { show: false } },
    scales: {
      x: { time: false, range: (/** @type {any} */ _, /** @type {number} */ first, /** @type {number} */ last) => [first - 0.6, last + 0.6] },
      y: { range: (/** @type {any} */ _, /** @type {number} */ least, /** @type {number} */ most) => [Math.min(0, least), Math.max(4, most * 1.1)] },
      rate: { range: [0, 1.02] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 30,
        splits: (/** @type {any} */ plot) => named(buckets.current, plot.bbox.width / devicePixelRatio),
        values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((index) => (buckets.current[index] ? markOf(buckets.current[index]) : '')) },
      { ...axis, incrs: WHOLE, size: 46, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map(count) },
      { ...axis, grid: { show: false }, scale: 'rate', side: 1, size: 50, incrs: [0.25, 0.5], values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map(share) },
    ],
    series: [
      {},
      { ...bar(0.76, 54), fill: colour('other') },
      { ...bar(0.78, 55), fill: striped(colour('missed'), ground) },
      { ...bar(0.8, 56), fill: colour('answered') },
      { scale: 'rate', stroke: colour('rate'), width: 2, points: { size: 6, fill: ground, stroke: colour('rate') } },
    ],
    hooks: { setCursor: [(/** @type {any} */ plot) => { pointed.value = plot.cursor.idx ?? null; }] },
  }, dataOf(buckets.current), box);
}

/** What the pointer is at, in words. @param {{ pointed: any, buckets: { current: Bucket[] } }} props */
function Pointed({ pointed, buckets }) {
  const bucket = buckets.current[pointed.value ?? -1];
  if (!bucket) return html`<p class="pointed quiet" aria-hidden="true">Point at a bar for its figures.</p>`;
  return html`<p class="pointed" aria-hidden="true"><strong>${nameOf(bucket)}</strong>: ${count(bucket.calls)} calls,
    ${' '}${count(bucket.answered)} answered (${share(bucket.answer_rate)}), ${count(bucket.missed)} missed</p>`;
}

/** @param {{ buckets: Bucket[], by: string, summary: string }} props */
export function Chart({ buckets, by, summary }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const latest = useRef(buckets);
  latest.current = buckets;
  const pointed = useMemo(() => signal(/** @type {number | null} */ (null)), []);
  const [uPlot, setLibrary] = useState(/** @type {any} */ (null));
  const [trouble, setTrouble] = useState(/** @type {Error | null} */ (null));
  const [isDark, setDark] = useState(dark.matches);

  useEffect(() => {
    let isHere = true;
    library().then((found) => isHere && setLibrary(() => found), (error) => isHere && setTrouble(error));
    const turn = () => setDark(dark.matches);
    dark.addEventListener('change', turn);
    return () => {
      isHere = false;
      dark.removeEventListener('change', turn);
    };
  }, []);

  useLayoutEffect(() => {
    const element = box.current;
    if (!uPlot || !element) return;
    plot.current = draw(uPlot, element, latest, pointed);
    const watch = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [uPlot, by, isDark]);

  useEffect(() => {
    plot.current?.setData(dataOf(buckets));
  }, [buckets]);

  const open = () => {
    const date = buckets[pointed.value ?? -1]?.date;
    if (date && by === 'day') go(withQuery({ from: date, to: date, range: null, by: null }));
  };
  if (trouble) return html`<${Failure} error=${new Error('The chart could not be loaded. The table has its figures.')} />`;
  return html`<div class="chart">
    <ul class="legend" aria-hidden="true">${MARKS.map(({ mark, name }) => html`<li key=${mark}><span class="mark mark-${mark}" data-mark=${mark}></span>${name}</li>`)}</ul>
    ${!uPlot && html`<${Loading} what="the chart" />`}
    <div class="plot ${by === 'day' ? 'plot-opens' : ''}" ref=${box} role="img" aria-label=${summary} onClick=${open}></div>
    <${Pointed} pointed=${pointed} buckets=${latest} />
  </div>`;
}
