// Small things that all pages are made of.

import { Refused, skew } from './api.js';
import { computed, html, signal } from './view.js';
import { exactly, standing, towards, when } from './words.js';

/** Strokes on a square of 24, by name. */
const ICONS = {
  in: 'M18 6 7 17M7 8v9h9', out: 'M6 18 17 7M8 7h9v9', both: 'M4 9h14l-3-3M20 15H6l3 3',
  talk: 'M4 5h16v11H9l-5 4z', ring: 'M6 16V11a6 6 0 0 1 12 0v5l2 2H4zM10 21h4', wait: 'M12 7v5l3 2M12 3a9 9 0 1 0 .01 0z',
  missed: 'M5 8l7 6 7-6M5 8v5M5 8h5', done: 'M5 13l4 4 10-10', busy: 'M5 12h14M12 3a9 9 0 1 0 .01 0z', stop: 'M6 6l12 12M18 6 6 18',
  failed: 'M12 8v5M12 16.500v.500M12 3 2 20h20z', archive: 'M4 8h16v12H4zM3 4h18v4H3zM10 12h4',
  search: 'M10.500 4a6.500 6.500 0 1 0 .01 0zM15.500 15.500 20 20', down: 'M6 9l6 6 6-6', right: 'M9 6l6 6-6 6', left: 'M15 6l-6 6 6 6',
  play: 'M8 5l11 7-11 7z', pause: 'M8 5v14M16 5v14', edit: 'M4 20h4L19 9l-4-4L4 16z', download: 'M12 4v11M7 11l5 5 5-5M5 20h14',
  retry: 'M20 12a8 8 0 1 1-3-6.200M20 3v4h-4', live: 'M12 9a3 3 0 1 0 .01 0zM6 6a8.500 8.500 0 0 0 0 12M18 6a8.500 8.500 0 0 1 0 12',
  cut: 'M4 4l16 16M9 9a4 4 0 0 0 6 6M6 6a8.500 8.500 0 0 0 0 12', plus: 'M12 5v14M5 12h14', past: 'M4 12a8 8 0 1 0 3-6.200M4 3v4h4M12 8v4l3 2',
  keys: 'M3 7h18v10H3zM7 11h.500M11 11h.500M15 11h.500M8 14h8',
};

/** A picture beside a word; for whoever does not see it the word says all. @param {{ name: string }} props */
export function Icon({ name }) {
  const path = ICONS[/** @type {keyof typeof ICONS} */ (name)] ?? '';
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${path} /></svg>`;
}

/** What became of a call, or what it is at. @param {{ call: { status: string, live: boolean, missed: boolean, direction: string } }} props */
export function Standing({ call }) {
  const { word, icon, tone } = standing(call);
  return html`<span class="standing tone-${tone}"><${Icon} name=${icon} />${word}</span>`;
}

/** @param {{ direction: string }} props */
export function Direction({ direction }) {
  const icon = { inbound: 'in', outbound: 'out' }[direction] ?? 'both';
  return html`<span class="direction"><${Icon} name=${icon} />${towards(direction)}</span>`;
}

/** The time that all running times go by; it moves once a second while somebody looks. */
export const now = signal(Date.now());
const tick = () => {
  if (!document.hidden) now.value = Date.now() + skew.peek();
};
setInterval(tick, 1_000);
document.addEventListener('visibilitychange', tick);
/** For what changes with the day and not with the second. */
export const today = computed(() => new Date(now.value).toDateString());

/** @param {{ at: string }} props */
export function When({ at }) {
  // Yesterday's time is said otherwise than today's.
  void today.value;
  return html`<time datetime=${at} title=${exactly(at)}>${when(at)}</time>`;
}

/** @param {{ what: string }} props */
export const Loading = ({ what }) => html`<p class="state state-loading"><span class="spinner" aria-hidden="true"></span>Loading ${what}…</p>`;

/** @param {{ title: string, children?: any }} props */
export const Empty = ({ title, children }) => html`<div class="state state-empty"><p class="state-title">${title}</p><p>${children}</p></div>`;

/**
 * What went wrong, what to do about it, and what to quote to whoever runs callbook.
 * @param {{ error: Error, again?: () => void }} props
 */
export function Failure({ error, again }) {
  const { status, requestId } = error instanceof Refused ? error : { status: 0, requestId: null };
  return html`<div class="state state-error" role="alert">
    <p class="state-title"><${Icon} name="failed" />${status === 404 ? 'There is no such thing here' : 'This could not be loaded'}</p>
    <p>${error.message}</p>
    ${requestId && html`<p class="quiet">Request <code>${requestId}</code></p>`}
    ${again && html`<button type="button" onClick=${again}><${Icon} name="retry" />Try again</button>`}
  </div>`;
}

/**
 * What a resource is at: loading, failed, or there; and with what is there beside a failure to load it anew.
 * @template T
 * @param {{ of: import('./resource.js').Resource<T>, what: string, children: (data: T) => any }} props
 */
export function Loaded({ of, what, children }) {
  const [data, error] = [of.data.value, of.error.value];
  const again = () => of.reload();
  if (data === null) return error ? html`<${Failure} error=${error} again=${again} />` : html`<${Loading} what=${what} />`;
  return html`${error && html`<${Failure} error=${error} again=${again} />`}${children(data)}`;
}
