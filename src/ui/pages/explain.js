// Why a call is what it is, in plain sentences: what Twilio said, when, what was decided, and what changed.

import { may } from '../api.js';
import { Icon, Loaded } from '../parts.js';
import { told } from '../past.js';
import { read, useResource } from '../resource.js';
import { html } from '../view.js';
import { exactly, party, spoken } from '../words.js';

/** Who said something. */
const SOURCES = {
  twilio_voice: 'Twilio called', twilio_recording: 'Twilio told of a recording',
  reconcile_hot: 'callbook asked Twilio (every minute)', reconcile_warm: 'callbook asked Twilio (every quarter of an hour)',
  reconcile_cold: 'callbook asked Twilio (every six hours)', reconcile_range: 'Somebody had Twilio asked',
  sync_initial: 'callbook asked Twilio when it began', sync_today: 'Somebody had Twilio asked for the last days', sync_recent: 'Somebody had Twilio asked for the last hour',
};

/** What came of a request. */
const RESULTS = {
  recorded: { icon: 'done', text: 'It told something new, and was recorded.' },
  already_so: { icon: 'stop', text: 'It told nothing new, so nothing was recorded.' },
  refused: { icon: 'failed', text: 'It was refused.' },
  waiting: { icon: 'wait', text: 'It waits to be decided.' },
  failed: { icon: 'retry', text: 'It could not be decided, and is tried again.' },
  given_up: { icon: 'failed', text: 'It could not be decided, and was given up.' },
};

/** How an event is said. @param {any} event @param {string} root */
function recorded(event, root) {
  const { type, summary, call_sid: sid } = event;
  const which = sid === root ? 'the call' : 'the leg';
  const status = summary?.status?.replace('-', ' ') ?? 'something that is not known';
  const length = summary?.duration ? `, ${spoken(summary.duration)} long` : '';
  switch (type) {
    case 'call.created': return `${sentence(which)} was heard of for the first time. It is ${status}.`;
    case 'call.status_changed': return `${sentence(which)} is now ${status}${length}.`;
    case 'call.dial_completed': return `What ${which} was put through to is over. It is ${status}${length}.`;
    case 'call.details_reconciled': return `More is known of ${which}.`;
    case 'call.reclassified': return `${sentence(which)} was judged again, by the lines configured then: it is ${summary?.direction ?? 'of no known direction'}.`;
    case 'call.frozen': return `Nothing more is expected of ${which}.`;
    case 'recording.ready': return `The recording of ${which} is ready.`;
    default: return `${sentence(told(event))} (of ${which}).`;
  }
}

/** @param {string} text */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** What Twilio said, as far as a person asks. @param {any} said */
function claim(said) {
  const field = (/** @type {string[]} */ ...names) => names.map((name) => said?.[name]).find((value) => value !== null && value !== undefined && value !== '');
  const parts = [];
  const status = field('CallStatus', 'DialCallStatus', 'status', 'RecordingStatus');
  const [from, to] = [field('From', 'Caller', 'from'), field('To', 'Called', 'to')];
  const seconds = field('CallDuration', 'DialCallDuration', 'RecordingDuration', 'duration');
  if (from || to) parts.push(`from ${party(from)} to ${party(to)}`);
  if (status) parts.push(`status “${status}”`);
  if (field('DialBridged') !== undefined) parts.push(field('DialBridged') === 'true' ? 'the two were connected' : 'the two were not connected');
  if (seconds !== undefined) parts.push(`${spoken(Number(seconds))} long`);
  if (field('price')) parts.push(`price ${field('price')} ${field('price_unit') ?? ''}`);
  return parts.join(', ');
}

const TABLES = { call_legs: 'leg', messages: 'entry', conversations: 'thread', contacts: 'contact' };
const VERBS = { added: 'was added', changed: 'changed', removed: 'was removed' };
/** Said by others already, or of no use to a person. */
const PLAIN = /^(metadata\..*|id|created_at|updated_at|root_call_sid|call_sid|twilio_sid|conversation_id|sync_state|former_parties|.*_malformed|.*_display|entry|is_final|announced|frozen|provisional)$/;

const seconds = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
/** @param {string} iso */
const second = (iso) => seconds.format(new Date(iso));

/** @param {unknown} value */
function valued(value) {
  if (value === null || value === undefined || value === '') return 'nothing';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value)) return second(value);
  if (typeof value === 'string' && /^(\+\d{7,15}|sips?:.*)$/.test(value)) return party(value);
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** @param {any} row */
const namedFields = (row) => row.fields.filter((/** @type {any} */ { field }) => !PLAIN.test(field));

/** What one row became, in a sentence, and each field for whoever wants all of them. @param {{ row: any, at: number }} props `at`: the event's position */
function Change({ row, at }) {
  const named = namedFields(row);
  const what = `The ${TABLES[/** @type {keyof typeof TABLES} */ (row.table)] ?? row.table}`;
  const verb = VERBS[/** @type {keyof typeof VERBS} */ (row.change)] ?? row.change;
  const words = named.slice(0, 4).map((/** @type {any} */ { field, before, after }) => `${field.replaceAll('_', ' ')} ${row.change === 'added' ? 'is' : `from ${valued(before)} to`} ${valued(after)}`);
  const more = named.length - 4;
  return html`<li><details><summary>${what} ${verb}${words.length ? `: ${words.join('; ')}` : ''}${more > 0 ? `; and ${more} more` : ''}.</summary>
    <div class="scrolling" tabindex="0" role="region" aria-label="Fields of ${what.toLowerCase()} ${row.key}, at ${at}"><table class="listed"><caption class="spoken">Each field</caption>
      <thead><tr><th scope="col">Field</th><th scope="col">Before</th><th scope="col">After</th></tr></thead>
      <tbody>${row.fields.map((/** @type {any} */ { field, before, after }) => html`<tr key=${field}><th scope="row"><code>${field}</code></th><td>${valued(before)}</td><td>${valued(after)}</td></tr>`)}</tbody></table></div>
  </details></li>`;
}

/** What changed: first what people see, then what only callbook needs. @param {{ rows: any[], at: number }} props */
function Changes({ rows, at }) {
  const seen = rows.filter((row) => namedFields(row).length > 0);
  const unseen = rows.filter((row) => namedFields(row).length === 0);
  const list = (/** @type {any[]} */ some) => html`<ul class="changes">${some.map((row) => html`<${Change} key=${`${row.table} ${row.key}`} row=${row} at=${at} />`)}</ul>`;
  return html`${seen.length === 0 ? html`<p class="quiet">Nothing that people see changed.</p>` : list(seen)}
    ${unseen.length > 0 && html`<details class="changes"><summary>${unseen.length} ${unseen.length === 1 ? 'row' : 'rows'} took note of it</summary>${list(unseen)}</details>`}`;
}

/** Where it stands in the log, which not everybody may see. @param {{ event: any }} props */
const Place = ({ event: { call_sid: sid, position } }) => (may('engineer')
  ? html`<a href=${`/ops/events?call_sid=${sid}&position=${position}`}>Event ${position}</a>` : html`<span class="quiet">Event ${position}</span>`);

/** @param {{ event: any, root: string }} props */
function Decided({ event, root }) {
  return html`<li class="decided">
    <p><${Icon} name="done" /><span>${recorded(event, root)} <${Place} event=${event} /></span></p>
    ${event.unreadable ? html`<p class="problem"><${Icon} name="failed" />This event cannot be read: ${event.unreadable}</p>`
      : html`<${Changes} rows=${event.changes} at=${event.position} />`}
  </li>`;
}

/** @param {{ step: any, root: string }} props */
function Step({ step, root }) {
  if (step.kind === 'recorded') {
    return html`<li class="step"><p class="step-head"><time datetime=${step.recorded_at}>${exactly(step.recorded_at)}</time>
        <strong>${step.source === 'reclassify' ? 'Somebody had the past judged by the lines of today.' : `callbook recorded this${step.source ? ` (${step.source})` : ''}; the request that made it is kept no longer.`}</strong></p>
      <ul><${Decided} event=${step} root=${root} /></ul></li>`;
  }
  const result = RESULTS[/** @type {keyof typeof RESULTS} */ (step.result)] ?? { icon: 'wait', text: step.result };
  const who = SOURCES[/** @type {keyof typeof SOURCES} */ (step.source)] ?? `From ${step.source}`;
  return html`<li class="step">
    <p class="step-head"><time datetime=${step.received_at}>${exactly(step.received_at)}</time>
      <strong>${who}: ${step.type.replaceAll('-', ' ')}${step.call_sid && step.call_sid !== root ? ', of a leg' : ''}.</strong></p>
    <p>It said: ${claim(step.said) || 'nothing that people ask for'}.</p>
    <p class="step-result"><${Icon} name=${result.icon} /><span>${result.text}${step.reason ? ` ${sentence(step.reason)}.` : ''}</span></p>
    ${step.events.length > 0 && html`<ul>${step.events.map((/** @type {any} */ event) => html`<${Decided} key=${event.position} event=${event} root=${root} />`)}</ul>`}
    <details><summary>Every word of it</summary><pre tabindex="0" aria-label="Request ${step.inbox_id}">${JSON.stringify(step.said, null, 2)}</pre></details>
  </li>`;
}

/**
 * @param {{ sid: string, upTo: number | null, isOfIt: (frame: import('../feed.js').Frame) => boolean }} props
 *   `upTo`: nothing after this position
 */
export function Explain({ sid, upTo, isOfIt }) {
  const story = useResource([sid], read(`/api/calls/${sid}/explain`), isOfIt);
  return html`<${Loaded} of=${story} what="the story of this call">${(/** @type {any} */ { steps, root_sid }) => {
    const known = steps.flatMap((/** @type {any} */ step) => {
      if (upTo === null) return [step];
      if (step.kind === 'recorded') return step.position <= upTo ? [step] : [];
      const events = step.events.filter((/** @type {any} */ { position }) => position <= upTo);
      return events.length > 0 ? [{ ...step, events }] : [];
    });
    return html`<ol class="steps" aria-label="What happened, in order">${known.map((/** @type {any} */ step) => html`<${Step} key=${step.inbox_id ?? `event ${step.position}`} step=${step} root=${root_sid} />`)}</ol>`;
  }}<//>`;
}
