import { html } from '../view.js';
export const InboxPage = () => html`<p>soon</p>`;
