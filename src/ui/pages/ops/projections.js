// How far the read side is, and building it anew.

import { announce } from '../../announce.js';
import { change, get } from '../../api.js';
import { Empty, Icon, Loaded } from '../../parts.js';
import { place, setQuery } from '../../route.js';
import { html, useRef, useState } from '../../view.js';
import { count, spoken } from '../../words.js';
import { Difference } from './difference.js';
import { Confirm, Do, Facts, Foldout, Folds, Moment, Table, Tag, useDoing, usePolled } from './shared.js';

const STATES = /** @type {Record<string, { word: string, icon: string, tone: string }>} */ ({
  running: { word: 'Running', icon: 'live', tone: 'live' },
  succeeded: { word: 'Succeeded', icon: 'done', tone: 'good' },
  failed: { word: 'Failed', icon: 'failed', tone: 'bad' },
  cancelled: { word: 'Cancelled', icon: 'stop', tone: 'quiet' },
  lost: { word: 'Lost', icon: 'cut', tone: 'bad' },
});
const PHASES = /** @type {Record<string, string>} */ ({
  loading: 'Loading the log', indexing: 'Indexing', 'catching up': 'Catching up', 'comparing with live': 'Comparing with live', 'changing over': 'Changing over',
});

/** @param {{ of: any }} props */
function Projection({ of }) {
  const { tables, binary } = of.fold_version;
  return html`<tr><th scope="row">${of.name}</th>
    <td>${of.stopped ? html`<${Tag} tone="bad" icon="failed">Stopped<//><p class="job-error">${of.stopped}</p>` : html`<${Tag} tone="good" icon="live">Follows<//>`}</td>
    <td class="figure">${count(of.position)}</td><td class="figure">${count(of.head)}</td>
    <td class="figure">${count(of.behind)} ${of.lag_seconds >= 1 && html`<span class="quiet">for ${spoken(of.lag_seconds)}</span>`}</td>
    <td class="figure">${of.quarantined > 0 ? html`<a href="/ops/quarantine">${count(of.quarantined)}</a>` : '0'}</td>
    <td>${tables === binary ? `version ${tables}` : html`<${Tag} tone="waiting" icon="failed">tables ${tables}, callbook ${binary}<//>`}</td>
    <td class="generations">${count(of.generation)}${of.others.map((/** @type {any} */ other) => html`<br /><span class="quiet">${other.generation} ${other.retired_at ? html`served until <${Moment} at=${other.retired_at} />` : 'is being built'}</span>`)}</td></tr>`;
}

/** @param {{ rebuild: any, onCancelled: () => void }} props */
function Progress({ rebuild, onCancelled }) {
  const [isDoing, act] = useDoing();
  const cancel = () => act(async () => {
    await change('POST', `/api/rebuilds/${rebuild.id}/cancel`);
    announce('It is being cancelled. The tables that serve stay as they are.');
    onCancelled();
  });
  const phase = PHASES[rebuild.phase] ?? rebuild.phase ?? 'Beginning';
  return html`<div class="progress">
    <label>${phase} ${rebuild.head > 0 && html`<span class="quiet">${count(rebuild.position)} of ${count(rebuild.head)} events</span>`}
      <progress max=${Math.max(1, rebuild.head)} value=${Math.min(rebuild.position, rebuild.head)}></progress></label>
    ${rebuild.cancel_requested ? html`<${Tag} tone="waiting" icon="wait">Being cancelled<//>`
      : html`<${Do} doing=${isDoing} onClick=${cancel}><${Icon} name="stop" />Cancel<//>`}
  </div>`;
}

/** What came of it, in a sentence. @param {any} rebuild */
function ending({ dry_run, state, diff }) {
  const what = dry_run ? 'The dry run' : 'The rebuild';
  if (state !== 'succeeded') return `${what} has ${state === 'cancelled' ? 'been cancelled' : state === 'lost' ? 'been lost' : state}`;
  if (!diff) return `${what} has succeeded`;
  return diff.rows ? `${what} found ${count(diff.rows)} rows that differ` : `${what} found that live equals rebuilt`;
}

/** @param {{ id: string, isRunning: boolean, onChange: () => void }} props */
function Details({ id, isRunning, onChange }) {
  const wasRunning = useRef(isRunning);
  const told = usePolled([id], async ({ signal }) => {
    const rebuild = await get(`/api/rebuilds/${id}`, signal);
    if (wasRunning.current && rebuild.state !== 'running') {
      announce(ending(rebuild), { bad: rebuild.state !== 'succeeded' });
      onChange();
    }
    wasRunning.current = rebuild.state === 'running';
    return { rebuild };
  }, isRunning ? 1_000 : null);
  return html`<${Loaded} of=${told} what="rebuild ${id}">${(/** @type {any} */ { rebuild }) => html`
    ${rebuild.state === 'running' && html`<${Progress} rebuild=${rebuild} onCancelled=${() => told.reload()} />`}
    ${rebuild.error && html`<p class="problem"><${Icon} name="failed" />${rebuild.error}</p>`}
    ${rebuild.diff && html`<${Difference} diff=${rebuild.diff} />`}
    <${Facts} facts=${[
      ['Began', html`<${Moment} at=${rebuild.started_at} />`],
      ['Ended', rebuild.ended_at && html`<${Moment} at=${rebuild.ended_at} /> <span class="quiet">after ${spoken((Date.parse(rebuild.ended_at) - Date.parse(rebuild.started_at)) / 1_000)}</span>`],
      ['Reached', rebuild.head > 0 && `${count(rebuild.position)} of ${count(rebuild.head)}`],
      ['Asked for by request', rebuild.requested_by && html`<code>${rebuild.requested_by}</code>`],
    ]} />`}<//>`;
}

/** @param {{ rebuild: any, isOpen: boolean, onChange: () => void }} props */
function Row({ rebuild, isOpen, onChange }) {
  const { word, icon, tone } = STATES[rebuild.state] ?? { word: rebuild.state, icon: 'wait', tone: 'quiet' };
  return html`<${Foldout} id="rebuild-${rebuild.id}" isOpen=${isOpen} onToggle=${() => setQuery({ rebuild: isOpen ? null : rebuild.id }, { replace: true })}
    head=${html`<span class="rebuild-row"><strong>${rebuild.dry_run ? 'Dry run' : 'Rebuild'} ${rebuild.id}</strong><${Moment} at=${rebuild.started_at} />
      <span class="quiet">${rebuild.diff ? (rebuild.diff.rows ? `${count(rebuild.diff.rows)} rows differ` : 'live equals rebuilt') : ''}</span><${Tag} tone=${tone} icon=${icon}>${word}<//></span>`}>
    <${Details} id=${rebuild.id} isRunning=${rebuild.state === 'running'} onChange=${onChange} /><//>`;
}

export function Projections() {
  const list = usePolled([], ({ signal }) => get('/api/projections', signal), 2_000);
  const rebuilds = usePolled([], ({ signal }) => get('/api/rebuilds', signal));
  const [asked, ask] = useState(/** @type {'dry' | 'real' | null} */ (null));
  const [isDoing, act] = useDoing();
  const open = place.value.query.get('rebuild');
  const isRunning = !!rebuilds.data.value?.rebuilds.some((/** @type {any} */ { state }) => state === 'running');
  const begin = (/** @type {boolean} */ dry_run) => act(async () => {
    const begun = await change('POST', '/api/rebuilds', { dry_run });
    announce(dry_run ? 'The dry run has begun' : 'The rebuild has begun');
    setQuery({ rebuild: begun.id }, { replace: true });
    await rebuilds.reload();
  });
  const reload = () => { rebuilds.reload(); };
  return html`<h1 tabindex="-1">Projections</h1>
    <section class="card" aria-labelledby="projections"><h2 id="projections">How far they are</h2>
      <${Loaded} of=${list} what="the projections">${(/** @type {any} */ { projections }) => html`
        <${Table} caption="Projections" head=${['Name', 'State', 'Position', 'Head', 'Behind', 'Quarantined', 'Fold', 'Generation']}>
          ${projections.map((/** @type {any} */ of) => html`<${Projection} key=${of.name} of=${of} />`)}<//>`}<//></section>
    <section class="card" aria-labelledby="rebuilds"><header class="card-head"><h2 id="rebuilds">Rebuilds</h2>
      <span class="part-tools"><${Do} doing=${isDoing || isRunning} onClick=${() => ask('dry')}><${Icon} name="search" />Dry run…<//>
        <${Do} doing=${isDoing || isRunning} onClick=${() => ask('real')}><${Icon} name="retry" />Rebuild…<//></span></header>
      <p class="quiet lead">${isRunning ? 'One is running; another can begin when it has ended.' : 'All rows are built anew from the log beside those that serve, and compared with them.'}</p>
      <${Loaded} of=${rebuilds} what="the rebuilds">${(/** @type {any} */ { rebuilds: all }) => (all.length === 0
        ? html`<${Empty} title="None was asked for yet">A dry run proves that the rows that serve are what the log says, and changes nothing.<//>`
        : html`<${Folds} label="Rebuilds">${all.map((/** @type {any} */ rebuild) => html`<${Row} key=${rebuild.id} rebuild=${rebuild} isOpen=${rebuild.id === open} onChange=${reload} />`)}<//>`)}<//></section>
    ${asked === 'dry' && html`<${Confirm} title="Begin a dry run?" does="Begin the dry run" onDo=${() => begin(true)} onClose=${() => ask(null)}>
      <p>The tables are built anew beside those that serve and compared with them row for row. Nothing is changed; it needs room for a second copy and reads the whole log.</p><//>`}
    ${asked === 'real' && html`<${Confirm} title="Rebuild the read side?" does="Rebuild" onDo=${() => begin(false)} onClose=${() => ask(null)}>
      <p>The tables are built anew beside those that serve, and then take their place. Reads go on meanwhile. A dry run first shows what would change.</p><//>`}`;
}
