// The one connection to the live stream that a browser has, shared by all of its tabs. Where there is no SharedWorker,
// a tab runs this by itself.
//
// It remembers the last `id` that it has seen, so after a cut it goes on exactly there. What it tells its tabs:
//
//   { is: 'state', state: 'connecting' | 'live' | 'cut' | 'refused', position }
//   { is: 'frames', frames: [{ position, name, data }] }   in the order of the log
//   { is: 'reset', position }                              everything is to be loaded again

const FRAMES = ['call.created', 'call.updated', 'contact.updated', 'conversation.updated'];
/** The server says something every 30 seconds. A connection that is silent for longer than this is none. */
const SILENCE = 75_000;
/** How long callbook may take to say who is signed in. */
const PATIENCE = 8_000;
const [SOONEST, LATEST] = [500, 8_000];

export class Feed {
  /** @param {(message: any) => void} tell */
  constructor(tell) {
    this.tell = tell;
    this.state = 'connecting';
    this.id = '';
    this.position = 0;
    this.wait = SOONEST;
    /** @type {{ position: number, name: string, data: any }[]} */
    this.frames = [];
    /** @type {EventSource | null} */
    this.source = null;
    this.attempt = 0;
    this.retry = 0;
    this.silence = 0;
    this.flushing = false;
    addEventListener('online', () => this.state === 'cut' && this.open());
  }

  /** What a tab that joins has to know. */
  greeting() {
    return { is: 'state', state: this.state, position: this.position };
  }

  /** Begins where nobody has, and goes on where it was cut off. */
  follow() {
    if (this.attempt === 0 || this.state === 'cut' || this.state === 'refused') this.open();
  }

  /** At once if somebody is signed in, and not before. */
  async open() {
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
    const attempt = (this.attempt += 1);
    const answer = await fetch('/api/session', { signal: AbortSignal.timeout(PATIENCE) }).catch(() => null);
    if (attempt !== this.attempt) return;
    if (!answer?.ok) return this.cut();
    const said = await answer.json().catch(() => null);
    if (attempt !== this.attempt) return;
    // A proxy may answer in the place of callbook.
    if (!said) return this.cut();
    if (said.caller) this.connect();
    else this.become('refused');
  }

  connect() {
    const after = this.id && `&after=${encodeURIComponent(this.id)}`;
    const source = new EventSource(`/events/calls?entries=true${after}`);
    this.source = source;
    this.listen();
    source.addEventListener('connected', (event) => {
      this.seen(event);
      this.wait = SOONEST;
      this.become('live');
    });
    source.addEventListener('reset', (event) => {
      this.seen(event);
      this.frames = [];
      this.tell({ is: 'reset', position: this.position });
    });
    source.addEventListener('keepalive', () => this.listen());
    source.addEventListener('goodbye', (event) => {
      this.seen(event);
      this.wait = JSON.parse(event.data).retry_ms;
      this.cut();
    });
    source.addEventListener('error', () => this.cut());
    for (const name of FRAMES) {
      source.addEventListener(name, (event) => {
        this.seen(event);
        this.frames.push({ position: this.position, name, data: JSON.parse(event.data) });
        this.flush();
      });
    }
  }

  /** @param {MessageEvent} event */
  seen(event) {
    this.listen();
    this.id = event.lastEventId;
    this.position = Number(this.id.slice(this.id.lastIndexOf('-') + 1));
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.cut(), SILENCE);
  }

  /** Tells of frames together: a burst of them is one message. */
  flush() {
    if (this.flushing) return;
    this.flushing = true;
    setTimeout(() => {
      this.flushing = false;
      if (this.frames.length) this.tell({ is: 'frames', frames: this.frames });
      this.frames = [];
    }, 10);
  }

  /** Until somebody opens it again. */
  end() {
    this.attempt += 1;
    this.source?.close();
    this.source = null;
    clearTimeout(this.silence);
    clearTimeout(this.retry);
    this.become('refused');
  }

  /** The browser would try again by itself, but not after every error, and not at once when it is online again. */
  cut() {
    this.source?.close();
    this.source = null;
    clearTimeout(this.silence);
    clearTimeout(this.retry);
    if (this.state !== 'cut') this.become('cut');
    this.retry = setTimeout(() => this.open(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, LATEST);
  }

  /** @param {string} state */
  become(state) {
    this.state = state;
    this.tell(this.greeting());
  }
}

if ('onconnect' in self) {
  /** @type {Set<MessagePort>} */
  const tabs = new Set();
  const feed = new Feed((message) => tabs.forEach((tab) => tab.postMessage(message)));
  self.addEventListener('connect', (event) => {
    const [tab] = /** @type {MessageEvent} */ (event).ports;
    tabs.add(tab);
    // A tab says goodbye where it can; one that could not costs a message that nobody reads.
    tab.onmessage = ({ data }) => {
      if (data === 'bye') tabs.delete(tab);
      if (data === 'open') feed.follow();
      if (data === 'end') feed.end();
    };
    tab.postMessage(feed.greeting());
  });
}
