// The page around all pages: who is here, whether it is live, and which page the address names.

import { Announcements, complain, say } from './announce.js';
import { Refused, may, session, whoAmI } from './api.js';
import { follow, health, position, silent, state } from './feed.js';
import { KeyHelp, isHelpOpen } from './keys.js';
import { Failure, Icon, Loading } from './parts.js';
import { settling, showPosition } from './resource.js';
import { parts, place, visits } from './route.js';
import { html, render, signal, useEffect, useRef } from './view.js';
import { BoardPage } from './pages/board.js';
import { SignInPage, signOut } from './pages/sign-in.js';
import { count } from './words.js';

/** What could not be found out about whoever looks. */
const trouble = signal(/** @type {Error | null} */ (null));

const PLACES = [
  { path: '/', name: 'Board', role: 'viewer' },
  { path: '/inbox', name: 'Threads', role: 'viewer' },
  { path: '/calls', name: 'Calls', role: 'viewer' },
  { path: '/stats', name: 'Statistics', role: 'viewer' },
  { path: '/ops', name: 'Operations', role: 'engineer' },
];

/**
 * Pages that are loaded when they are first gone to, by the first part of the path.
 * @type {Record<string, { title: string, load: () => Promise<any> }>}
 */
const PAGES = {
  inbox: { title: 'Threads', load: async () => (await import('./pages/inbox.js')).InboxPage },
  calls: { title: 'Calls', load: async () => (await import('./pages/calls.js')).CallsPage },
  stats: { title: 'Statistics', load: async () => (await import('./pages/stats.js')).StatsPage },
  ops: { title: 'Operations', load: async () => (await import('./pages/ops.js')).OpsPage },
};

/** Pages that are here, and those that could not be had. */
const loaded = signal(/** @type {Record<string, any>} */ ({}));

/** @param {{ name: string }} props */
function Later({ name }) {
  const Page = loaded.value[name];
  useEffect(() => {
    if (Page) return;
    const keep = (/** @type {any} */ page) => { loaded.value = { ...loaded.value, [name]: page }; };
    settling(PAGES[name].load().then(keep, () => keep(Missing)));
  }, [name, Page]);
  return Page ? html`<${Page} />` : html`<${Loading} what=${PAGES[name].title.toLowerCase()} />`;
}

/** A part of the page that cannot be had. */
const Missing = () => html`<div class="state state-error" role="alert">
  <p class="state-title">This part of the page could not be loaded</p>
  <p>Either callbook cannot be reached, or it was replaced by another version while this page was open.</p>
  <button type="button" onClick=${() => location.reload()}>Load the page again</button>
</div>`;

const NotFound = () => html`<div class="state state-empty"><h1 tabindex="-1">There is no such page</h1>
  <p><code>${place.value.path}</code> leads nowhere. <a href="/">To the live board</a></p></div>`;

/** Where the stream stands: a word, a picture, and for the position a number that is not read aloud each time. */
function Status() {
  const behind = Math.max(0, (health.value?.head ?? 0) - position.value);
  switch (state.value) {
    case 'live': {
      if (silent.value > 1) return html`<p class="status status-cut"><${Icon} name="cut" />no answer · position ${count(position.value)}</p>`;
      const stopped = health.value?.stopped;
      return html`<p class="status status-${stopped ? 'cut' : 'live'}"><${Icon} name=${stopped ? 'failed' : 'live'} />
        ${stopped ? 'standing still' : 'live'} · position ${count(position.value)} · ${count(behind)} behind</p>`;
    }
    case 'cut':
      return html`<p class="status status-cut"><${Icon} name="cut" />reconnecting · position ${count(position.value)}</p>`;
    default:
      return html`<p class="status"><${Icon} name="wait" />connecting…</p>`;
  }
}

function Header() {
  const { caller, simulated, sign_in_required } = session.value ?? {};
  const here = `/${parts.value[0] ?? ''}`;
  const places = PLACES.filter(({ role }) => may(/** @type {any} */ (role)));
  return html`<header class="top">
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <a class="brand" href="/">callbook</a>
    <nav aria-label="Pages"><ul>${places.map(({ path, name }) => html`<li key=${path}>
      <a href=${path} aria-current=${here === path ? 'page' : undefined}>${name}</a></li>`)}</ul></nav>
    ${caller && html`<${Status} />`}
    <div class="tools">
      ${simulated && html`<span class="simulated" title="Calls are made up; none of them is real"><${Icon} name="wait" />Simulated account</span>`}
      <button type="button" class="plain" aria-label="Keys" aria-haspopup="dialog" onClick=${() => { isHelpOpen.value = true; }}><${Icon} name="keys" /></button>
      ${caller && sign_in_required && html`<span class="quiet">${caller.name}</span>
        <button type="button" class="plain" onClick=${() => signOut().catch(complain)}>Sign out</button>`}
    </div>
  </header>`;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.querySelector('main')?.focus();
}

/** What is wrong, for whoever can do something about it. */
function Warning() {
  const why = health.value?.why ?? [];
  if (why.length === 0 || !may('dispatcher')) return null;
  return html`<aside class="warning" aria-label="What is wrong"><${Icon} name="failed" />
    <ul>${why.map((reason) => html`<li key=${reason}>${reason}</li>`)}</ul></aside>`;
}

function Page() {
  const name = parts.value[0] ?? '';
  if (name === '') return html`<${BoardPage} />`;
  if (name === 'sign-in' && session.value?.sign_in_required) return html`<${SignInPage} />`;
  if (name === 'sign-in') return html`<div class="state state-empty"><h1 tabindex="-1">Nobody has to sign in</h1>
    <p>Calls are simulated, and only this machine can ask. <a href="/">To the live board</a></p></div>`;
  return Object.hasOwn(PAGES, name) ? html`<${Later} name=${name} />` : html`<${NotFound} />`;
}

function App() {
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const name = parts.value[0] ?? '';
  const wasCut = useRef(false);
  useEffect(() => {
    if (state.value === 'cut' && !wasCut.current) say('The connection is lost. It is tried again.');
    if (state.value === 'live' && wasCut.current) say('The connection is back, and nothing was missed.');
    if (state.value === 'live' || state.value === 'cut') wasCut.current = state.value === 'cut';
  }, [state.value]);
  const title = Object.hasOwn(PAGES, name) ? PAGES[name].title : { '': 'Board', 'sign-in': 'Sign in' }[name] ?? 'No such page';
  const known = session.value;
  const signedOut = known && !known.caller;
  useEffect(() => {
    document.title = `${signedOut ? 'Sign in' : title} · callbook`;
  }, [title, signedOut]);
  // Whoever goes to another page is put at its beginning, and so is whoever loses the place where they were; nothing
  // else ever moves the focus.
  const section = useRef(name);
  useEffect(() => {
    const isSame = section.current === name;
    section.current = name;
    const { activeElement: at } = document;
    if (visits.value === 0 || (isSame && at !== document.body && at?.checkVisibility())) return;
    main.current?.focus({ preventScroll: true });
  }, [visits.value]);
  return html`
    <${Header} />
    ${known && !signedOut && html`<${Warning} />`}
    <main id="main" tabindex="-1" ref=${main}>
      ${trouble.value && !known ? html`<${Failure} error=${trouble.value} again=${begin} />`
        : !known ? html`<${Loading} what="callbook" />`
        : signedOut ? html`<${SignInPage} />` : html`<${Page} />`}
    </main>
    <${Announcements} />
    <${KeyHelp} />`;
}

let isFollowing = false;
let again = 0;

/** Finds out who looks, and tries again by itself until callbook says so. */
async function begin() {
  try {
    await whoAmI();
    trouble.value = null;
    if (isFollowing) return;
    isFollowing = true;
    follow();
    showPosition();
  } catch (error) {
    trouble.value = error instanceof Refused ? error
      : new Refused(0, { detail: 'callbook cannot be reached. Is it running, and is this machine online?' });
    clearTimeout(again);
    again = setTimeout(begin, 3_000);
  }
}

const root = document.getElementById('page');
if (root) {
  root.replaceChildren();
  render(html`<${App} />`, root);
}
begin();
