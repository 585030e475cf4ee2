// How callbook is, at a glance.

import { get } from '../../api.js';
import { Icon, Loaded, now } from '../../parts.js';
import { html } from '../../view.js';
import { ago, count, spoken } from '../../words.js';
import { Facts, Moment, Tag, usePolled } from './shared.js';

const bytes = new Intl.NumberFormat(undefined, { style: 'unit', unit: 'kilobyte', maximumFractionDigits: 1 });

/** Half a second is no second. @param {number | null | undefined} seconds */
const waited = (seconds) => {
  if (seconds === null || seconds === undefined) return 'nothing waits';
  return seconds < 1 ? 'less than a second' : spoken(seconds);
};

/** @param {{ at: string | null | undefined }} props */
const Since = ({ at }) => (at ? html`<${Moment} at=${at} /> <span class="quiet">(${ago(now.value - Date.parse(at))})</span>` : '–');

/** @param {{ title: string, to?: string, link?: string, children?: any }} props */
const Card = ({ title, to, link, children }) => html`<section class="card" aria-label=${title}>
  <header class="card-head"><h2>${title}</h2>${to && html`<a href=${to}>${link}</a>`}</header>${children}</section>`;

/** @param {{ health: any }} props */
const Verdict = ({ health }) => html`<section class="card verdict ${health.why.length ? 'verdict-bad' : ''}" aria-label="Health">
  <p class="verdict-word"><${Icon} name=${health.why.length ? 'failed' : 'done'} /><strong>${health.why.length ? 'Degraded' : 'Healthy'}</strong></p>
  ${health.why.length ? html`<ul class="why">${health.why.map((/** @type {string} */ reason) => html`<li key=${reason}>${reason}</li>`)}</ul>`
    : html`<p>Webhooks are taken, decided and folded. Nothing stands still.</p>`}
  <p class="quiet">callbook ${health.version} · account <code>${health.account_sid}</code> ${health.simulated && '· simulated, no call is real'}</p>
</section>`;

const NoDatabase = () => html`<p class="problem"><${Icon} name="failed" />The database does not say.</p>`;

/** @param {{ of: any }} props */
const Projection = ({ of }) => (!of ? html`<${NoDatabase} />` : html`
  ${of.stopped ? html`<p class="problem"><${Icon} name="failed" />It stands still: ${of.stopped}</p>` : null}
  <dl class="figures"><div><dt>Position</dt><dd>${count(of.position)}</dd></div><div><dt>Head of the log</dt><dd>${count(of.head)}</dd></div>
    <div><dt>Behind</dt><dd>${count(of.behind)} <small>events</small></dd></div></dl>
  <${Facts} facts=${[['Oldest has waited', waited(of.behind_seconds)], ['Quarantined calls', count(of.quarantined)]]} />`);

/** @param {{ of: any }} props */
const Worker = ({ of }) => (!of ? html`<${NoDatabase} />` : html`
  <p>${of.expired ? html`<${Tag} tone="bad" icon="failed">Nobody renews it<//>` : of.holder ? html`<${Tag} tone="good" icon="done">Held<//>` : html`<${Tag} tone="waiting" icon="wait">Nobody holds it<//>`}</p>
  <${Facts} facts=${[['Holder', of.holder && html`<code>${of.holder}</code>`], ['Epoch', count(of.epoch)], ['Since', html`<${Since} at=${of.taken_at} />`]]} />`);

/** @param {{ health: any }} props */
const Waiting = ({ health: { spool, inbox } }) => html`
  <dl class="figures"><div><dt>Spooled on the disk</dt><dd>${count(spool.waiting)} <small>webhooks</small></dd></div>
    <div><dt>Of them all</dt><dd>${bytes.format(spool.bytes / 1_000)}</dd></div></dl>
  <${Facts} facts=${[['Oldest on the disk', spool.oldest ? html`<${Since} at=${spool.oldest} />` : 'none waits'],
    ['Oldest undecided in the inbox', inbox ? waited(inbox.oldest_waiting_seconds) : 'the database does not say']]} />`;

/** @param {{ of: any }} props */
const Stream = ({ of }) => html`
  <dl class="figures"><div><dt>Clients now</dt><dd>${count(of.connected_clients)}</dd></div><div><dt>Events sent</dt><dd>${count(of.events_sent)}</dd></div>
    <div><dt>Told up to</dt><dd>${count(of.position)}</dd></div></dl>
  <${Facts} facts=${[['Connections so far', count(of.total_connections)], ['Resets', count(of.resets)], ['Stalled and ended', count(of.stalled)], ['Life of the log', html`<code>${of.incarnation}</code>`]]} />`;

export function Overview() {
  const health = usePolled([], ({ signal }) => get('/health', signal));
  const stream = usePolled([], ({ signal }) => get('/events/stats', signal));
  return html`<h1 tabindex="-1">Operations</h1>
    <${Loaded} of=${health} what="health">${(/** @type {any} */ told) => html`<${Verdict} health=${told} />
      <div class="cards">
        <${Card} title="Projection" to="/ops/projections" link="Projections and rebuilds"><${Projection} of=${told.projection} /><//>
        <${Card} title="What waits" to="/ops/inbox" link="Inbox"><${Waiting} health=${told} /><//>
        <${Card} title="Worker lease"><${Worker} of=${told.worker} /><//>
        <${Card} title="Live stream" to="/ops/events" link="Events"><${Loaded} of=${stream} what="the stream's figures">${(/** @type {any} */ of) => html`<${Stream} of=${of} />`}<//><//>
      </div>`}<//>`;
}
