// Replicas, and the events of all chats.
import { api } from './api.js';
import { $, age, arrange, clock, make, plural, put, short } from './dom.js';

const readEvery = 1000;
const keep = 200;
const suspectAfter = 1250; // when a silence is worth a colour; the sweepers judge for themselves
const lostKept = 10 * 60_000; // a lost replica is shown for so long after its last heartbeat

export class Fleet {
  constructor({ changed }) {
    this.changed = changed;
    this.workers = new Map();
    this.cards = new Map();
  }

  name = (id) => this.workers.get(id)?.name ?? (id ? short(id) : 'a replica');

  // silence is for how long a replica has not been heard of, in milliseconds; 0 while it is as it should be.
  silence(id) {
    const worker = this.workers.get(id);
    return worker && (worker.status !== 'live' || worker.heartbeat_age_ms > suspectAfter) ? worker.heartbeat_age_ms : 0;
  }

  async read() {
    try {
      const { workers } = await api.workers();
      this.workers = new Map(workers.map((worker) => [worker.id, worker]));
      this.failure = '';
    } catch (err) {
      this.failure = err.message;
    }
    this.draw();
    this.changed();
  }

  run() {
    let timer;
    let stopped = false;
    const turn = async () => {
      await this.read();
      if (!stopped) timer = setTimeout(turn, readEvery);
    };
    turn();
    return { stop: () => { stopped = true; clearTimeout(timer); } };
  }

  draw() {
    const shown = [...this.workers.values()].filter((worker) => worker.status !== 'lost' || worker.heartbeat_age_ms < lostKept);
    const rank = { live: 0, suspect: 0, lost: 1 };
    shown.sort((a, b) => rank[a.status] - rank[b.status] || a.name.localeCompare(b.name) || a.started_at.localeCompare(b.started_at));
    for (const id of this.cards.keys()) if (!shown.some((worker) => worker.id === id)) this.cards.delete(id);
    arrange($('replicas'), shown.map((worker) => this.#card(worker)));
    const live = shown.filter((worker) => worker.status !== 'lost' && !this.silence(worker.id));
    const running = live.reduce((sum, worker) => sum + worker.running, 0);
    put($('replicas-count'), this.failure ? '' : `${live.length} live`);
    put($('fleet'), this.failure || `${plural(live.length, 'replica')} · ${running.toLocaleString('en')} running`);
    $('fleet').dataset.state = this.failure || !live.length ? 'bad' : 'good';
  }

  #card(worker) {
    let card = this.cards.get(worker.id);
    if (!card) {
      card = {
        name: make('strong'), state: make('span', { class: 'state' }), beat: make('span', { class: 'beat' }), load: make('span', { class: 'load' }),
        meter: make('meter', { min: '0', 'aria-label': 'Slots in use' }), host: make('span', { class: 'host mono' }),
      };
      card.node = make('li', { class: 'card' },
        make('div', { class: 'card-head' }, card.name, card.state), card.meter,
        make('div', { class: 'card-foot' }, card.load, card.beat), card.host);
      this.cards.set(worker.id, card);
    }
    const state = worker.status === 'lost' ? 'lost' : worker.draining ? 'draining' : this.silence(worker.id) ? 'suspect' : 'live';
    card.node.dataset.state = state;
    card.state.dataset.state = state;
    put(card.name, worker.name);
    put(card.state, { lost: 'Lost', draining: 'Draining', suspect: 'Silent', live: 'Live' }[state]);
    put(card.load, `${worker.running.toLocaleString('en')} of ${worker.slots.toLocaleString('en')} running`);
    put(card.beat, `heartbeat ${age(worker.heartbeat_age_ms)} ago`);
    put(card.host, worker.pid ? `${worker.host} · pid ${worker.pid}` : '');
    card.meter.max = worker.slots;
    card.meter.value = worker.running;
    return card.node;
  }
}

// Events is the strip of what happens, newest first.
export class Events {
  constructor({ names, title }) {
    this.names = names;
    this.title = title;
    this.held = false;
    this.news = [];
    $('hold').addEventListener('click', () => {
      this.held = !this.held;
      $('hold').setAttribute('aria-pressed', String(this.held));
      put($('hold'), this.held ? 'Held' : 'Hold');
      if (!this.held) this.draw();
    });
  }

  hear(event) {
    this.news.push(event);
    if (this.news.length > keep) this.news.shift();
    this.drawing ??= setTimeout(() => { this.drawing = undefined; if (!this.held) this.draw(); }, 100);
  }

  draw() {
    const list = $('events');
    list.prepend(...this.news.reverse().map((event) => this.#line(event)));
    this.news = [];
    while (list.children.length > keep) list.lastElementChild.remove();
  }

  #line(event) {
    const words = {
      status: () => `${event.status}${event.worker ? ` on ${this.names(event.worker)}` : ''}`,
      retry: () => `attempt ${event.retry?.attempt} failed`,
      message: () => `message of the ${event.message?.role ?? 'chat'}`,
      removed: () => 'message removed',
      deleted: () => 'deleted',
    };
    const title = this.title(event.chat);
    return make('li', { 'data-state': event.reason === 'recovered' ? 'recovered' : event.status ?? event.type },
      make('time', { datetime: event.at }, clock(event.at)),
      make('a', { href: `#/chat/${event.chat}`, class: title ? null : 'mono', tabindex: '-1' }, title || short(event.chat)),
      make('span', {}, words[event.type]?.() ?? event.type),
      event.reason && make('em', {}, event.reason.replaceAll('_', ' ')));
  }
}
