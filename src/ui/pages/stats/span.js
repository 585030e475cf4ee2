// Which days are counted, and by what: as the address says it.

export const RANGES = [
  { range: 'today', days: 1, name: 'Today' },
  { range: '7', days: 7, name: '7 days' },
  { range: '30', days: 30, name: '30 days' },
  { range: '90', days: 90, name: '90 days' },
];
const USUAL = RANGES[1];
/** Hours are counted for as many days, and no more. */
const MOST_DAYS_BY_HOUR = 31;
const DAY = 86_400_000;

/** The date of a moment where the browser is. @param {Date} at */
export const dateOf = (at) => [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((part) => String(part).padStart(2, '0')).join('-');

/** @param {string} date @param {number} days */
function later(date, days) {
  const at = new Date(`${date}T12:00:00`);
  at.setDate(at.getDate() + days);
  return Number.isNaN(at.getTime()) ? date : dateOf(at);
}

/**
 * @param {URLSearchParams} query
 * @param {Date} now
 */
export function spanOf(query, now) {
  const today = dateOf(now);
  const [from, to] = [query.get('from'), query.get('to')];
  const known = RANGES.find(({ range }) => range === query.get('range')) ?? USUAL;
  const chosen = from || to ? null : known;
  const last = chosen ? today : to || today;
  const first = chosen ? later(today, 1 - chosen.days) : from || later(last, 1 - USUAL.days);
  const days = Math.round((Date.parse(last) - Date.parse(first)) / DAY) + 1;
  const mayBeByHour = !(days > MOST_DAYS_BY_HOUR);
  const wanted = query.get('by') || (days <= 2 ? 'hour' : 'day');
  return { range: chosen?.range ?? null, from: first, to: last, by: mayBeByHour && wanted === 'hour' ? 'hour' : 'day', mayBeByHour };
}

const day = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' });
const short = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

/**
 * @typedef {{ start: string, end: string, date: string, weekday: number, hour: number | null, calls: number, live: number,
 *   answered: number, missed: number, no_answer: number, busy: number, failed: number, canceled: number,
 *   answer_rate: number | null, talk_time: Times, wait_time: Times }} Bucket
 * @typedef {{ mean: number | null, p50: number | null, p95: number | null }} Times
 */

/** `Sat, Nov 21`, or with its hour. @param {Bucket} bucket */
export function nameOf({ start, date, hour }) {
  const name = day.format(new Date(`${date}T12:00:00`));
  return hour === null ? name : `${name}, ${time.format(new Date(start))}`;
}

/** As short as it fits below a bar; the first hour of a day says which day it is. @param {Bucket} bucket */
export function markOf({ start, date, hour }) {
  return hour === null || hour === 0 ? short.format(new Date(`${date}T12:00:00`)) : time.format(new Date(start));
}
