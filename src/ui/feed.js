// The live stream as the page has it: where it stands, and what it tells, at most once a frame of the screen.

import { Feed } from './feed-worker.js';
import { get, session, whoAmI } from './api.js';
import { batch, effect, signal } from './view.js';

/**
 * @typedef {object} Entry A call as a thread shows it.
 * @property {string} sid
 * @property {string} rootSid the call at the top, which may not have been heard of yet
 * @property {string | null} conversationId
 * @property {string | null} name
 * @property {string | null} handle
 * @property {string | null} number
 * @property {string} direction
 * @property {string} status
 * @property {boolean} missed
 * @property {boolean} live
 * @property {string | null} line
 * @property {string} startTime
 * @property {string | null} answeredAt
 * @property {string | null} endTime
 * @property {number | null} duration
 * @property {number | null} unreadCount
 * @property {boolean | null} archived
 *
 * @typedef {{ position: number, name: string, data: any }} Frame
 */

/** Whether what is shown follows what happens. */
export const state = signal(/** @type {'connecting' | 'live' | 'cut' | 'refused'} */ ('connecting'));
/** Up to where in the log this page has been told. */
export const position = signal(0);
/** The end of the log when it was last asked for, and what `/health` says is wrong. */
export const health = signal(/** @type {{ head: number, stopped: string | null, why: string[] } | null} */ (null));
/** How often in a row callbook has not said how it is. */
export const silent = signal(0);
/** What was loaded as of before this position is to be loaded again: nobody told this page of what came in between. */
export const floor = signal(0);

/** Whether a frame tells of a call that has ended. @param {Frame} frame */
export const isOver = ({ data }) => !!data.entry && !data.entry.live;

/** How long callbook may take to say how it is, in milliseconds. */
const PATIENCE = 4_000;

/** @type {Set<(frames: Frame[]) => void>} */
const listeners = new Set();
/** @type {Frame[]} */
let waiting = [];
let scheduled = false;
let told = false;

/**
 * Hears of each frame of the stream, together with what else came within a frame of the screen.
 * @param {(frames: Frame[]) => void} listener
 * @returns {() => void} ends it
 */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function apply() {
  scheduled = false;
  if (waiting.length === 0) return;
  const frames = waiting;
  waiting = [];
  batch(() => {
    for (const listener of listeners) listener(frames);
    const last = frames.at(-1)?.position ?? 0;
    if (last > position.value) position.value = last;
  });
}

/** @param {any} message */
function hear(message) {
  switch (message.is) {
    case 'frames':
      waiting.push(...message.frames);
      if (scheduled) return;
      scheduled = true;
      // A page that nobody sees has no frames of the screen.
      if (document.hidden) setTimeout(apply, 250);
      else requestAnimationFrame(apply);
      return;
    case 'reset':
      // Another log, in which positions begin anew.
      location.reload();
      return;
    case 'state':
      batch(() => {
        state.value = message.state;
        if (message.state === 'live' && !told) {
          told = true;
          floor.value = message.position;
          position.value = message.position;
        }
      });
      // Somebody signed in or out in another tab.
      if (message.state === (session.peek()?.caller ? 'refused' : 'live')) whoAmI().catch(() => {});
      return;
  }
}

// A frame of the screen that was waited for does not come any more.
document.addEventListener('visibilitychange', () => document.hidden && apply());

/** @type {(command: 'open' | 'end' | 'bye') => void} */
let say;
if ('SharedWorker' in window) {
  const worker = new SharedWorker(new URL('./feed-worker.js', import.meta.url), { type: 'module', name: 'callbook' });
  worker.port.onmessage = ({ data }) => hear(data);
  say = (command) => worker.port.postMessage(command);
} else {
  const feed = new Feed(hear);
  say = (command) => (command === 'open' ? feed.follow() : feed.end());
}
addEventListener('pagehide', () => say('bye'));
addEventListener('pageshow', (event) => event.persisted && location.reload());

/** Begins to follow when somebody is signed in, and ends when nobody is. */
export function follow() {
  effect(() => say(session.value?.caller ? 'open' : 'end'));
  /** @type {string[]} */
  let before = [];
  let isAsking = false;
  const look = async () => {
    if (document.hidden || isAsking) return;
    isAsking = true;
    const said = await get('/health', AbortSignal.timeout(PATIENCE)).catch(() => null);
    isAsking = false;
    silent.value = said ? 0 : silent.peek() + 1;
    if (!said?.projection) return;
    const { head, stopped } = said.projection;
    // What is over when it is asked for again was a busy moment, and nothing to warn of.
    const lasting = said.why.filter((/** @type {string} */ reason) => before.includes(reason));
    before = said.why;
    health.value = { head: head ?? health.peek()?.head ?? 0, stopped, why: lasting };
  };
  look();
  setInterval(look, 5_000);
  document.addEventListener('visibilitychange', look);
}
