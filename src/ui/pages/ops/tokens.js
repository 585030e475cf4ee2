// Who may use the API.

import { announce, complain } from '../../announce.js';
import { change, get, session, whoAmI } from '../../api.js';
import { Empty, Icon, Loaded } from '../../parts.js';
import { useResource } from '../../resource.js';
import { html, useId, useState } from '../../view.js';
import { Confirm, Moment, Table, Tag, useDoing } from './shared.js';

const ROLES = [['viewer', 'Viewer: reads calls and threads'], ['dispatcher', 'Dispatcher: works with them'],
  ['engineer', 'Engineer: sees to operations'], ['admin', 'Admin: says who else may']];

/** A page that did not come encrypted has no clipboard. @param {string} text */
const copy = async (text) => navigator.clipboard.writeText(text);

/** The token, this once. @param {{ made: { name: string, token: string }, onDone: () => void }} props */
function Made({ made, onDone }) {
  const take = () => copy(made.token).then(() => announce('The token was copied'), () => complain('The browser does not let it be copied. Select it and copy it by hand.'));
  return html`<section class="card made" aria-labelledby="made"><h2 id="made"><${Icon} name="keys" />The token for ${made.name}</h2>
    <p>It is shown this once and kept nowhere. Copy it now.</p>
    <p class="secret"><code tabindex="0" role="textbox" aria-readonly="true" aria-label="Token">${made.token}</code>
      <button type="button" class="main" onClick=${take}>Copy</button><button type="button" onClick=${onDone}>I have it</button></p></section>`;
}

/** @param {{ onMade: (made: any) => void }} props */
function New({ onMade }) {
  const [name, setName] = useState('');
  const [role, setRole] = useState('viewer');
  const [isDoing, act] = useDoing();
  const [nameId, roleId] = [useId(), useId()];
  const make = (/** @type {Event} */ event) => {
    event.preventDefault();
    act(async () => {
      const made = await change('POST', '/api/tokens', { name: name.trim(), role });
      setName('');
      announce(`A token for ${made.name} was made`);
      onMade(made);
    });
  };
  return html`<form class="ops-filters new-token" aria-label="A new token" onSubmit=${make}>
    <p><label for=${nameId}>Name</label><input id=${nameId} required maxlength="100" autocomplete="off" placeholder="Who or what it is for" value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} /></p>
    <p><label for=${roleId}>Role</label><select id=${roleId} value=${role} onChange=${(/** @type {any} */ event) => setRole(event.target.value)}>
      ${ROLES.map(([of, said]) => html`<option key=${of} value=${of}>${said}</option>`)}</select></p>
    <button type="submit" class="main" aria-disabled=${isDoing ? 'true' : undefined}><${Icon} name="plus" />Make a token</button></form>`;
}

/** @param {{ token: any, onRevoke: () => void }} props */
const Row = ({ token, onRevoke }) => html`<tr><th scope="row">${token.name}</th><td>${token.role}</td>
  <td><${Moment} at=${token.created_at} /></td><td>${token.last_used_at ? html`<${Moment} at=${token.last_used_at} />` : html`<span class="quiet">never</span>`}</td>
  <td>${token.revoked_at ? html`<${Tag} icon="stop">Revoked<//> <${Moment} at=${token.revoked_at} />` : html`<${Tag} tone="good" icon="done">Valid<//>`}</td>
  <td>${!token.revoked_at && html`<button type="button" onClick=${onRevoke} aria-label="Revoke ${token.name}">Revoke…</button>`}</td></tr>`;

export function Tokens() {
  const list = useResource([], ({ signal }) => get('/api/tokens', signal));
  const [made, setMade] = useState(/** @type {any} */ (null));
  const [asked, ask] = useState(/** @type {any} */ (null));
  const [isDoing, act] = useDoing();
  const revoke = () => act(async () => {
    await change('DELETE', `/api/tokens/${encodeURIComponent(asked.name)}`);
    announce(`The token for ${asked.name} was revoked`);
    if (made?.name === asked.name) setMade(null);
    await list.reload();
    // It may have been one's own.
    await whoAmI();
  });
  return html`<h1 tabindex="-1">Tokens</h1>
    <p class="quiet lead">A program sends its token with each request; a person signs in with one. ${session.value && !session.value.sign_in_required
      && 'This callbook asks nobody to sign in, so whoever reaches it is an admin.'}</p>
    ${made && html`<${Made} made=${made} onDone=${() => setMade(null)} />`}
    <section class="card" aria-labelledby="new-token"><h2 id="new-token">A new one</h2>
      <${New} onMade=${(/** @type {any} */ token) => { setMade(token); list.reload(); }} /></section>
    <section class="card" aria-labelledby="tokens"><h2 id="tokens">Made so far</h2>
      <${Loaded} of=${list} what="the tokens">${(/** @type {any} */ { tokens }) => (tokens.length === 0
        ? html`<${Empty} title="No token was made yet">Make one for each program, and one for each person.<//>`
        : html`<${Table} caption="Tokens" head=${['Name', 'Role', 'Made', 'Last used', 'State', 'Revoke']}>
          ${tokens.map((/** @type {any} */ token) => html`<${Row} key=${token.id} token=${token} onRevoke=${() => !isDoing && ask(token)} />`)}<//>`)}<//></section>
    ${asked && html`<${Confirm} title="Revoke the token for ${asked.name}?" does="Revoke it" danger onDo=${revoke} onClose=${() => ask(null)}>
      <p>Whatever uses it is refused from now on, and browsers that signed in with it are signed out. It cannot be taken back.</p><//>`}`;
}
