import { html } from '../view.js';
export const CallsPage = () => html`<p>soon</p>`;
