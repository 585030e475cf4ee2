// How calls, times and numbers are said to people.

const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000];

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' });
const year = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const whole = new Intl.NumberFormat();
const percent = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 0 });

export const timeZone = new Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

/** @param {number | null | undefined} number */
export const count = (number) => (number === null || number === undefined ? '–' : whole.format(number));
/** @param {number | null | undefined} part of 1 */
export const share = (part) => (part === null || part === undefined ? '–' : percent.format(part));

/** `0:07`, `5:50`, `1:02:03`. @param {number | null | undefined} seconds */
export function clock(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const all = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const two = (/** @type {number} */ part) => String(part).padStart(2, '0');
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** `7 s`, `5 min 50 s`, `1 h 2 min`. @param {number | null | undefined} seconds */
export function spoken(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const all = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s} s` : `${s} s`;
}

/**
 * A time of the API, so that text is ordered as times are: the API leaves out the zeros at the end of a second.
 * @param {string} iso
 */
export function instant(iso) {
  const [second, fraction = ''] = iso.replace('Z', '').split('.');
  return `${second}.${fraction.padEnd(9, '0')}`;
}

/** When something was, as short as it can be said at another moment. @param {string} iso @param {number} [now] */
export function when(iso, now = Date.now()) {
  const at = new Date(iso);
  if (new Date(now).toDateString() === at.toDateString()) return time.format(at);
  if (new Date(now - DAY).toDateString() === at.toDateString()) return `yesterday ${time.format(at)}`;
  if (Math.abs(now - at.getTime()) < 180 * DAY) return `${day.format(at)}, ${time.format(at)}`;
  return year.format(at);
}

/** To the second. @param {string | null | undefined} iso */
export const exactly = (iso) => (iso ? exact.format(new Date(iso)) : '–');

/** The day of something, as a heading. @param {string} iso */
export function dayOf(iso) {
  const at = new Date(iso);
  const now = Date.now();
  if (new Date(now).toDateString() === at.toDateString()) return 'Today';
  if (new Date(now - DAY).toDateString() === at.toDateString()) return 'Yesterday';
  return Math.abs(now - at.getTime()) < 180 * DAY ? day.format(at) : year.format(at);
}

/** `12 s ago`. @param {number} ms */
export function ago(ms) {
  if (ms < 2 * SECOND) return 'just now';
  if (ms < MINUTE) return `${Math.round(ms / SECOND)} s ago`;
  if (ms < HOUR) return `${Math.round(ms / MINUTE)} min ago`;
  return ms < 2 * DAY ? `${Math.round(ms / HOUR)} h ago` : `${Math.round(ms / DAY)} days ago`;
}

/** The first moment of today here. @param {number} [now] */
export function midnight(now = Date.now()) {
  const at = new Date(now);
  at.setHours(0, 0, 0, 0);
  return at.toISOString();
}

/** A number of E.164 for people, where nothing better is known. @param {string | null | undefined} handle */
export function party(handle) {
  if (!handle) return 'Withheld number';
  const american = /^\+1(\d{3})(\d{3})(\d{4})$/.exec(handle);
  if (american) return `+1 (${american[1]}) ${american[2]}-${american[3]}`;
  return handle.replace(/^(sips?|client):/, '');
}

/**
 * What somebody is called, and their number where that is another thing.
 * @param {{ name?: string | null, number?: string | null, handle?: string | null }} who
 */
export function called({ name, number, handle }) {
  const shown = number ?? party(handle);
  return name && name !== shown ? { name, number: shown } : { name: shown, number: null };
}

/** The same of a contact as REST has it. @param {any} contact */
export const calledAs = (contact) => called({ name: contact?.display_name, number: contact?.phone_number, handle: contact?.handle });

/** A contact with another name, or with none. @param {any} contact @param {string | null} name */
export const renamed = (contact, name) => ({ ...contact, display_name: name ?? contact.phone_number });

/**
 * What a call is, in a word and a picture.
 * @param {{ status: string, live: boolean, missed: boolean, direction: string }} call
 * @returns {{ word: string, icon: string, tone: 'live' | 'waiting' | 'good' | 'bad' | 'quiet' }}
 */
export function standing({ status, live, missed, direction }) {
  if (live) {
    if (status === 'in-progress') return { word: 'Talking', icon: 'talk', tone: 'live' };
    if (status === 'ringing') return { word: 'Ringing', icon: 'ring', tone: 'waiting' };
    if (status === 'queued') return { word: 'Queued', icon: 'wait', tone: 'waiting' };
    return { word: direction === 'inbound' ? 'Arriving' : 'Dialling', icon: 'wait', tone: 'waiting' };
  }
  if (missed) return { word: 'Missed', icon: 'missed', tone: 'bad' };
  switch (status) {
    case 'completed': return { word: 'Answered', icon: 'done', tone: 'good' };
    case 'busy': return { word: 'Busy', icon: 'busy', tone: 'bad' };
    case 'no-answer': return { word: 'No answer', icon: 'missed', tone: 'quiet' };
    case 'canceled': return { word: 'Cancelled', icon: 'stop', tone: 'quiet' };
    case 'failed': return { word: 'Failed', icon: 'failed', tone: 'bad' };
    default: return { word: status, icon: 'wait', tone: 'quiet' };
  }
}

/** @param {string} direction */
export const towards = (direction) => ({ inbound: 'Inbound', outbound: 'Outbound', internal: 'Internal', external: 'External' })[direction] ?? 'Unknown';
