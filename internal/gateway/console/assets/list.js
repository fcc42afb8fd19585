// The list of chats: a page at a time, kept up to date by events.
import { api } from './api.js';
import { $, ago, arrange, make, put, short } from './dom.js';
import { describe } from './status.js';

const filters = [
  ['', 'All'],
  ['pending', 'Queued'],
  ['running', 'Running'],
  ['error', 'Error'],
  ['waiting', 'Idle'],
];
const pageSize = 50;
const readAgain = 2000; // the pause between two readings of the first page, however much happens
const atOnce = 8; // how many rows are read again in one go

// reasons that say all there is to know of a row.
const plain = new Set(['claimed', 'finished', 'committed', 'recovered', 'yielded', 'interrupted', 'retried']);

export class List {
  constructor({ names, open, know }) {
    this.names = names;
    this.know = know;
    this.open = open;
    this.chats = new Map(); // in order, newest first
    this.rows = new Map();
    this.status = '';
    this.query = '';
    this.next = '';
    this.current = '';
    this.stale = new Set();
    this.failure = '';

    $('filters').append(...filters.map(([status, label]) => make('button', {
      type: 'button', 'data-status': status, 'aria-pressed': String(status === ''), onclick: () => this.filter(status),
    }, label)));
    $('more').addEventListener('click', () => this.more());
    const find = $('find');
    find.addEventListener('input', () => { this.query = find.value.trim(); this.draw(); });
    find.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') { find.value = this.query = ''; this.draw(); find.blur(); }
      if (event.key === 'Enter' && this.query) this.#go();
    });
    setInterval(() => this.draw(), 5000); // "2 min" grows old
  }

  // #go opens the first match, or the chat of that very id, which may be on no page that was read.
  #go() {
    const [first] = this.#visible();
    if (first) this.open(first.id);
    else if (/^[A-Za-z0-9_-]{1,64}$/.test(this.query)) this.open(this.query);
  }

  async filter(status) {
    this.status = status;
    for (const button of $('filters').children) button.setAttribute('aria-pressed', String(button.dataset.status === status));
    this.chats.clear();
    this.next = '';
    this.draw();
    await this.load();
  }

  // load reads the first page, and keeps what was loaded behind it.
  async load() {
    const status = this.status;
    try {
      const page = await api.list({ limit: pageSize, ...(status && { status }) });
      if (status !== this.status) return;
      const fresh = new Map(page.chats.map((chat) => [chat.id, this.#merge(chat)]));
      if (this.chats.size <= page.chats.length) this.next = page.next ?? '';
      const oldest = page.chats.at(-1)?.created_at ?? '';
      for (const [id, chat] of this.chats) if (!fresh.has(id) && page.next && chat.created_at <= oldest) fresh.set(id, chat);
      this.chats = fresh;
      this.failure = '';
    } catch (err) {
      this.failure = err.message;
    }
    this.loaded = true;
    this.draw();
  }

  async more() {
    const button = $('more');
    button.disabled = true;
    try {
      const page = await api.list({ limit: pageSize, cursor: this.next, ...(this.status && { status: this.status }) });
      for (const chat of page.chats) this.chats.set(chat.id, this.#merge(chat));
      this.next = page.next ?? '';
    } catch (err) {
      this.failure = err.message;
    }
    button.disabled = false;
    this.draw();
  }

  // #merge keeps what events said and the row does not: how the last turn ended, and newer statuses.
  #merge(chat) {
    const known = this.chats.get(chat.id);
    if (!known || known.number !== chat.number) return chat;
    return known.version > chat.version ? known : { ...chat, finish: known.finish, trouble: known.trouble };
  }

  // hear takes a status event of any chat.
  hear(event) {
    const chat = this.chats.get(event.chat);
    if (event.type === 'deleted') {
      if (this.chats.delete(event.chat)) this.#soon();
      return;
    }
    if (event.type !== 'status') {
      if (event.type === 'retry' && chat) this.#ask(event.chat);
      return;
    }
    if (chat?.number !== event.number) return this.#again();
    if (event.version <= chat.version) return;
    const { status, worker, reason, turn, version } = event;
    const stopping = reason === 'interrupted' && status === 'running';
    Object.assign(chat, {
      status, worker: worker ?? null, turn, version, updated_at: event.at,
      finish: (reason === 'finished' && chat.interrupt_requested) || (reason === 'interrupted' && status === 'waiting') ? 'interrupted' : '',
      trouble: status === 'pending' && reason === 'recovered' ? { kind: 'lost' } : status === 'pending' && reason === 'yielded' ? { kind: 'moved' } : null,
      interrupt_requested: stopping, attempts: 0, retry_at: null, ...(status === 'waiting' && { queued: 0 }),
    });
    if (this.status && status !== this.status) this.chats.delete(event.chat);
    if (!plain.has(reason) || chat.queued) this.#ask(event.chat);
    this.#soon();
  }

  // #again reads the first page again, at most every readAgain.
  #again() {
    this.rereading ??= setTimeout(async () => { await this.load(); this.rereading = undefined; }, readAgain * (0.25 + Math.random() / 2));
  }

  // #ask reads single rows again.
  #ask(id) {
    this.stale.add(id);
    this.asking ??= setTimeout(async () => {
      const ids = [...this.stale].slice(0, atOnce);
      this.stale.clear();
      await Promise.allSettled(ids.map(async (id) => {
        const { chat } = await api.get(id);
        if (this.chats.has(id)) this.chats.set(id, this.#merge(chat));
      }));
      this.asking = undefined;
      this.draw();
    }, 300);
  }

  #soon() {
    this.drawing ??= setTimeout(() => { this.drawing = undefined; this.draw(); }, 60);
  }

  #visible() {
    const query = this.query.toLowerCase();
    const all = [...this.chats.values()];
    return query ? all.filter((chat) => `${chat.title} ${chat.id} ${chat.model}`.toLowerCase().includes(query)) : all;
  }

  // touch shows what is known of a chat now.
  touch(id) {
    const chat = this.chats.get(id);
    if (chat && this.rows.has(id)) this.#row(chat);
  }

  select(id) {
    this.current = id;
    this.draw();
  }

  // step goes to the next or the previous chat.
  step(by) {
    const shown = this.#visible();
    if (!shown.length) return;
    const at = shown.findIndex((chat) => chat.id === this.current);
    const to = shown[Math.min(shown.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    this.open(to.id);
    this.rows.get(to.id)?.link.focus();
    this.rows.get(to.id)?.link.scrollIntoView({ block: 'nearest' });
  }

  draw() {
    const shown = this.#visible();
    const kept = new Set(shown.map((chat) => chat.id));
    for (const id of this.rows.keys()) if (!kept.has(id)) this.rows.delete(id);
    arrange($('list'), shown.map((chat) => this.#row(chat)));
    const empty = $('list-empty');
    empty.hidden = !this.failure && (shown.length > 0 || !this.loaded);
    put(empty, this.failure || (this.query ? 'Nothing here matches. Enter opens the chat with that id.' : this.status ? 'No such chat.' : 'No chat yet. Say something.'));
    $('more').hidden = !this.next || Boolean(this.query);
  }

  #row(chat) {
    let row = this.rows.get(chat.id);
    if (!row) {
      row = { state: make('span', { class: 'state' }), title: make('span', { class: 'title' }), meta: make('span', { class: 'meta' }), when: make('time') };
      row.link = make('a', { class: 'row', href: `#/chat/${chat.id}` }, make('span', { class: 'line' }, row.title, row.when), make('span', { class: 'line' }, row.state, row.meta));
      row.node = make('li', {}, row.link);
      this.rows.set(chat.id, row);
    }
    const { key, label } = describe(chat, this.know(chat));
    row.state.dataset.state = key;
    put(row.state, label);
    put(row.title, chat.title || short(chat.id));
    row.title.classList.toggle('mono', !chat.title);
    put(row.meta, chat.worker ? `on ${this.names(chat.worker)}` : chat.queued ? `${chat.queued} queued` : chat.model);
    put(row.when, ago(chat.updated_at));
    row.when.dateTime = chat.updated_at;
    if (chat.id === this.current) row.link.setAttribute('aria-current', 'page');
    else row.link.removeAttribute('aria-current');
    return row.node;
  }
}
