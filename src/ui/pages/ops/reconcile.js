// Asking Twilio for what nobody told of: where each job stands, and how well webhooks do.

import { announce } from '../../announce.js';
import { change, get, query } from '../../api.js';
import { Empty, Icon, Loaded, now } from '../../parts.js';
import { place } from '../../route.js';
import { html } from '../../view.js';
import { ago, count, spoken } from '../../words.js';
import { Do, Field, Filters, Moment, Table, Tag, useDoing, usePolled } from './shared.js';

const JOBS = /** @type {Record<string, string>} */ ({
  reconcile_hot: 'The last hour', reconcile_warm: 'The last day', reconcile_cold: 'Older days',
  sync_initial: 'The week before callbook', sync_today: 'The last 3 days, once', sync_recent: 'The last hour, once',
});
const FACTS = [['announced', 'Calls begun'], ['ended', 'Calls ended'], ['recording', 'Recordings'], ['price', 'Prices']];

const percent = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 });

/** What webhooks told of; all of them only where it is all of them. @param {{ webhook: number, reconcile: number }} fact */
function part({ webhook, reconcile }) {
  const all = webhook + reconcile;
  return all ? percent.format(Math.floor((webhook / all) * 1_000) / 1_000) : '–';
}

/** `15 min` for what is no longer or shorter than that. @param {number} seconds */
const span = (seconds) => spoken(seconds).replace(/ 0 (s|min)$/, '');

/** What came of a job, without the noughts. @param {{ outcome: any }} props */
function Outcome({ outcome }) {
  if (!outcome) return html`<span class="quiet">–</span>`;
  const parts = [['new', outcome.synced], ['updated', outcome.updated], ['skipped', outcome.skipped], [outcome.recordings === 1 ? 'recording' : 'recordings', outcome.recordings],
    ['unknown to Twilio', outcome.missing], ['left alone from now on', outcome.frozen]].filter(([, number]) => number > 0);
  const reasons = Object.entries(outcome.skipped_reasons ?? {}).map(([reason, number]) => `${reason}: ${number}`).join(', ');
  return html`<span title=${reasons || undefined}>${count(outcome.total)} read${parts.map(([name, number]) => html`, ${count(number)} ${name}`)}</span>`;
}

/** @param {{ job: any }} props */
const Standing = ({ job }) => {
  if (job.running) return html`<${Tag} tone="live" icon="live">Running<//> <span class="quiet">${ago(now.value - Date.parse(job.running_since))}</span>`;
  if (job.last_error) return html`<${Tag} tone="bad" icon="failed">Failed<//> <${Moment} at=${job.last_error_at} />`;
  if (job.last_success_at) return html`<${Tag} tone="good" icon="done">Done<//> <span class="quiet">${ago(now.value - Date.parse(job.last_success_at))}</span>`;
  return html`<${Tag} icon="wait">Never yet<//>`;
};

/** @param {{ job: any }} props */
const Due = ({ job }) => {
  if (!job.every_seconds) return html`<span class="quiet">only when asked</span>`;
  const left = Math.max(0, (Date.parse(job.next_at) - now.value) / 1_000);
  return html`every ${span(job.every_seconds)}${job.next_at && html`<br /><span class="quiet">next in ${spoken(left)}</span>`}`;
};

/** @param {{ job: any, onStarted: () => void }} props */
function Job({ job, onStarted }) {
  const [isDoing, act] = useDoing();
  const start = () => act(async () => {
    await change('POST', `/api/reconcile/${encodeURIComponent(job.name)}`);
    announce(`${job.name} has begun`);
    onStarted();
  });
  return html`<tr><th scope="row">${JOBS[job.name] ?? job.name}<br /><code class="quiet">${job.name}</code></th>
    <td><${Standing} job=${job} />${job.last_error && html`<p class="job-error">${job.last_error}</p>`}</td>
    <td><${Outcome} outcome=${job.last_outcome} /></td><td><${Due} job=${job} /></td>
    <td><${Do} doing=${isDoing || job.running} onClick=${start} aria-label="Start ${job.name} now"><${Icon} name="play" />Start<//></td></tr>`;
}

/** @param {{ fact: any, name: string }} props */
const Fact = ({ fact, name }) => html`<td>${name}</td><td class="figure">${count(fact.webhook)}</td><td class="figure">${count(fact.reconcile)}</td>
  <td class="figure">${part(fact)}</td>
  <td>${fact.late ? html`${spoken(fact.late.median_seconds)} <span class="quiet">at most ${spoken(fact.late.most_seconds)}</span>` : html`<span class="quiet">–</span>`}</td>
  <td class="sources">${Object.entries(fact.sources).map(([source, number]) => html`<span key=${source}><code>${source}</code> ${count(number)}</span>`)}</td>`;

/** @param {{ day: any }} props */
function Day({ day }) {
  const facts = FACTS.filter(([of]) => day.facts[of]);
  const head = html`<th scope="rowgroup" rowspan=${Math.max(1, facts.length)}>${day.day}<br /><span class="quiet">${count(day.healed)} healed</span></th>`;
  if (facts.length === 0) return html`<tr class="group">${head}<td colspan="6" class="quiet">Nothing was told of</td></tr>`;
  return facts.map(([of, name], index) => html`<tr key=${of} class=${index === 0 ? 'group' : ''}>${index === 0 && head}<${Fact} fact=${day.facts[of]} name=${name} /></tr>`);
}

export function Reconcile() {
  const days = place.value.query.get('days') ?? '7';
  const jobs = usePolled([], ({ signal }) => get('/api/reconcile', signal), 2_000);
  const card = usePolled([days], ({ signal }) => get(`/api/sync/scorecard${query({ days })}`, signal), 30_000);
  const reload = () => { jobs.reload(); };
  return html`<h1 tabindex="-1">Reconcile</h1>
    <p class="quiet lead">callbook asks Twilio for what webhooks did not tell of. A job runs by itself when it is due, and whenever it is started here.</p>
    <section class="card" aria-labelledby="jobs"><h2 id="jobs">Jobs</h2>
      <${Loaded} of=${jobs} what="the jobs">${(/** @type {any} */ { jobs: all }) => html`<${Table} caption="Jobs" head=${['Job', 'State', 'Last outcome', 'Due', 'Start']}>
        ${all.map((/** @type {any} */ job) => html`<${Job} key=${job.name} job=${job} onStarted=${reload} />`)}<//>`}<//></section>
    <section class="card" aria-labelledby="scorecard"><header class="card-head"><h2 id="scorecard">Who told first</h2>
      <${Filters}><${Field} name="days" label="Days" options=${[['', '7 days'], ['1', 'Today'], ['14', '14 days'], ['31', '31 days']]} /><//></header>
      <p class="quiet lead">Which facts webhooks told of first, and which had to be asked for. Days are those of UTC.</p>
      <${Loaded} of=${card} what="the scorecard">${(/** @type {any} */ { days: all }) => (all.length === 0
        ? html`<${Empty} title="Nothing was told of on these days">Each day appears here with its first call.<//>`
        : html`<${Table} caption="Facts by day and by who told of them first" head=${['Day', 'Fact', 'By webhook', 'By asking', 'Webhooks’ part', 'How late', 'Sources']}>
          ${all.map((/** @type {any} */ day) => html`<${Day} key=${day.day} day=${day} />`)}<//>`)}<//></section>`;
}
