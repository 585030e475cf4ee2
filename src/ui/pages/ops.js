import { html } from '../view.js';
export const OpsPage = () => html`<p>soon</p>`;
