// Asking the REST API, and saying what it says when it refuses.

import { signal } from './view.js';

/**
 * @typedef {{ name: string, role: 'viewer' | 'dispatcher' | 'engineer' | 'admin' }} Caller
 * @typedef {{ sign_in_required: boolean, caller: Caller | null, simulated: boolean }} Session
 */

/** Who looks at this; null until callbook has said so. */
export const session = signal(/** @type {Session | null} */ (null));

const ROLES = ['viewer', 'dispatcher', 'engineer', 'admin'];

/**
 * Whether whoever looks at this may do what needs a role.
 * @param {Caller['role']} role
 */
export function may(role) {
  const caller = session.value?.caller;
  return !!caller && ROLES.indexOf(caller.role) >= ROLES.indexOf(role);
}

/** By how much the clock of this machine is behind callbook's, in milliseconds; what is less is the way between them. */
export const skew = signal(0);
const NOTICED = 3_000;

/** @param {Response} response */
function compareClocks(response) {
  const theirs = Date.parse(response.headers.get('date') ?? '');
  const ahead = theirs - Date.now();
  if (Number.isFinite(ahead)) skew.value = Math.abs(ahead) < NOTICED ? 0 : ahead;
}

/** What the API refused or could not do, in its own words (RFC 9457). */
export class Refused extends Error {
  /**
   * @param {number} status 0 where there was no answer
   * @param {any} problem
   */
  constructor(status, problem) {
    super(problem?.detail || problem?.title || `callbook answered ${status}`);
    this.status = status;
    this.code = problem?.code;
    this.requestId = problem?.request_id;
    this.problem = problem;
  }
}

/**
 * Asks, and reads the answer as JSON.
 * @param {string} path
 * @param {RequestInit & { json?: unknown }} [how] `json` is sent as the body
 * @returns {Promise<{ body: any, headers: Headers }>}
 */
export async function ask(path, { json, ...how } = {}) {
  const headers = new Headers(how.headers);
  headers.set('accept', 'application/json');
  if (json !== undefined) headers.set('content-type', 'application/json');
  const body = json === undefined ? undefined : JSON.stringify(json);
  let response;
  try {
    response = await fetch(path, { ...how, headers, body });
  } catch (error) {
    if (how.signal?.aborted) throw error;
    throw new Refused(0, { detail: 'callbook cannot be reached. It is asked again when the connection is back.' });
  }
  compareClocks(response);
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    // The session is over, or never was: the page asks who this is, and then for a token.
    if (response.status === 401) whoAmI().catch(() => {});
    throw new Refused(response.status, problem);
  }
  const text = response.status === 204 ? '' : await response.text();
  return { body: text ? JSON.parse(text) : null, headers: response.headers };
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 */
export const get = async (path, signal) => (await ask(path, { signal })).body;

/**
 * Changes something. It has one effect however often it is sent: it goes under a key of its own.
 * @param {'POST' | 'PATCH' | 'DELETE'} method
 * @param {string} path
 * @param {unknown} [json]
 * @param {{ version?: string | number, keepalive?: boolean }} [how] `version`: of what the caller has seen
 */
export async function change(method, path, json, { version, keepalive } = {}) {
  const headers = new Headers({ 'idempotency-key': crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` });
  if (version !== undefined) headers.set('if-match', `"${version}"`);
  return (await ask(path, { method, json, headers, keepalive })).body;
}

export async function whoAmI() {
  const said = await fetch('/api/session', { headers: { accept: 'application/json' } });
  if (!said.ok) throw new Refused(said.status, await said.json().catch(() => null));
  session.value = await said.json();
}

/**
 * A query of what is there: what is empty is left out.
 * @param {Record<string, string | number | boolean | null | undefined>} parameters
 */
export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}
