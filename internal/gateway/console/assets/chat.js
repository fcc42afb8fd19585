// One chat: its head, its conversation as it grows, and the field to take part.
import { api, follow } from './api.js';
import { $, age, arrange, clock, make, plural, put, say, short } from './dom.js';
import { busy, describe } from './status.js';
import { Text } from './text.js';
import { Transcript } from './transcript.js';

const window_ = 100; // so many turns are in the page; earlier ones are asked for
const known = ['demo/echo', 'openai/gpt-4o-mini', 'anthropic/claude-3-5-haiku-latest'];

// key is a client_id: sending again under it is sending once.
const key = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');

export class ChatView {
  constructor({ fleet, opened, changed }) {
    this.fleet = fleet;
    this.opened = opened;
    this.changed = changed;
    this.id = null;
    this.#head();
    this.#composer();
    this.#scrolling();
    this.#reset();
  }

  #reset() {
    this.stream?.stop();
    this.stream = null;
    this.transcript = new Transcript();
    this.turns = new Map();
    this.queue = []; // what this page sent and the chat has not taken up yet
    this.unsent = null;
    this.shownTurns = window_;
    this.link = 'open';
    this.failure = '';
    this.stick = true;
    this.spoken = '';
    $('log').replaceChildren();
    $('problem').hidden = true;
  }

  // show opens a chat; null is one that does not exist yet.
  show(id) {
    if (id === this.id && this.stream) return;
    this.#reset();
    this.id = id;
    this.follow();
    this.draw();
  }

  follow() {
    if (!this.id || this.stream || this.transcript.deleted) return;
    const { id, transcript } = this;
    const mine = () => this.transcript === transcript;
    this.stream = follow(api.events(id), (event) => {
      if (!mine()) return;
      const it = JSON.parse(event.data);
      transcript.apply(it, event.id?.split('-')[2]);
      this.#took(it);
      if (transcript.deleted) this.stream.stop();
      this.#soon();
    }, (state) => {
      if (!mine()) return;
      this.link = state;
      if (state === 'gone' && !transcript.row && !transcript.deleted) this.failure = `There is no chat “${id}”.`;
      this.#soon();
    }, this.resume);
    this.resume = '';
    this.read();
  }

  // rest closes the stream until follow is called again.
  rest() {
    this.resume = this.stream?.stop() ?? '';
    this.stream = null;
  }

  // read reads the row, of which events tell a part.
  async read() {
    const { id, transcript } = this;
    try {
      const { chat } = await api.get(id);
      transcript.know(chat);
      // What was read before the last send says nothing of the queue behind it.
      const newest = this.transcript === transcript && chat.version === transcript.row.version;
      if (newest && chat.queued < this.queue.length) this.queue.splice(0, this.queue.length - chat.queued);
    } catch (err) {
      if (this.transcript === transcript && err.status === 404 && !transcript.deleted) {
        if (transcript.row) transcript.end();
        else this.failure = `There is no chat “${id}”.`;
      }
    }
    if (this.transcript === transcript) this.#soon();
  }

  #took(event) {
    if (event.type === 'status' || event.type === 'retry') {
      this.rereading ??= setTimeout(() => { this.rereading = undefined; if (this.id) this.read(); }, 150);
    }
    if (event.type === 'message') this.queue = this.queue.filter((one) => one.client_id !== event.message?.client_id);
  }

  #soon() {
    this.drawing ??= requestAnimationFrame(() => { this.drawing = undefined; this.draw(); });
  }

  // know is what describe wants beside the row.
  know() {
    const last = [...this.transcript.messages.values()].at(-1);
    const { trouble, live, row } = this.transcript;
    return { trouble, live, finish: last?.finish, silence: row?.status === 'running' ? this.fleet.silence(row.worker) : 0 };
  }

  draw() {
    const { row, deleted } = this.transcript;
    const chat = deleted ? null : row;
    this.#drawHead(chat);
    this.#drawLog(chat);
    this.#drawComposer(chat);
    this.#toEnd();
    this.#speak(chat);
    this.changed(chat);
  }

  // The head.

  #head() {
    const h = this.head = {
      title: make('h2', { tabindex: '-1' }), id: make('button', { class: 'copy mono', type: 'button', title: 'Copy the id' }),
      state: make('span', { class: 'state pill' }), facts: make('span', { class: 'facts' }),
      retry: make('button', { type: 'button', class: 'small', onclick: () => this.retry() }, 'Retry'),
      remove: make('button', { type: 'button', class: 'quiet small', onclick: () => this.remove() }, 'Delete'),
    };
    h.id.addEventListener('click', async () => {
      await navigator.clipboard?.writeText(this.id);
      say('Copied the id');
    });
    $('chat-head').append(
      make('div', { class: 'head-main' }, h.title, make('div', { class: 'head-sub' }, h.state, h.id, h.facts)),
      make('div', { class: 'head-actions' }, h.retry, h.remove));
  }

  #drawHead(chat) {
    const h = this.head;
    const first = [...this.transcript.messages.values()].find((message) => message.role === 'user');
    const title = chat?.title || (first ? textOf(first).slice(0, 80) : '') || (this.id ? 'Chat' : 'New chat');
    put(h.title, this.failure ? 'Not found' : this.transcript.deleted ? 'Deleted' : title);
    h.id.hidden = !this.id;
    h.state.hidden = !chat;
    h.retry.hidden = chat?.status !== 'error';
    h.remove.hidden = !chat;
    put(h.id, this.id ? short(this.id) : '');
    h.id.title = `Copy the id ${this.id}`;
    if (!chat) return put(h.facts, '');
    const { key: state, label } = describe(chat, this.know());
    h.state.dataset.state = state;
    put(h.state, label);
    put(h.facts, [
      chat.worker && `on ${this.fleet.name(chat.worker)}`, chat.model, `turn ${chat.turn}`, chat.epoch && `epoch ${chat.epoch}`,
      chat.recoveries > 0 && `recovered ${chat.recoveries}×`,
    ].filter(Boolean).join(' · '));
  }

  // The conversation: an element for each turn, with the question, what befell it, and the answer.

  #drawLog(chat) {
    const { messages, live } = this.transcript;
    const byTurn = new Map();
    for (const message of messages.values()) {
      if (!byTurn.has(message.turn)) byTurn.set(message.turn, []);
      byTurn.get(message.turn).push(message);
    }
    if (chat?.turn && !byTurn.has(chat.turn)) byTurn.set(chat.turn, []);
    const numbers = [...byTurn.keys()].sort((a, b) => a - b);
    const shown = numbers.slice(-this.shownTurns);
    for (const number of this.turns.keys()) if (!byTurn.has(number)) this.turns.delete(number);
    const nodes = shown.map((number) => this.#turn(number, byTurn.get(number), chat, live?.turn === number ? live : null));
    if (shown.length < numbers.length) nodes.unshift(this.#earlier(numbers.length - shown.length));
    if (!numbers.length) nodes.push(this.#nothing());
    arrange($('log'), nodes);
    $('scroll').setAttribute('aria-busy', String(Boolean(live)));
  }

  #earlier(count) {
    this.earlier ??= make('button', { type: 'button', class: 'more', onclick: () => { this.shownTurns += window_; this.stick = false; this.draw(); } });
    put(this.earlier, `Show earlier turns (${count})`);
    return this.earlier;
  }

  #nothing() {
    this.nothing ??= make('div', { class: 'nothing' }, make('strong'), make('p'));
    const [title, text] = this.nothing.children;
    if (this.failure) { put(title, this.failure); put(text, 'It may have been deleted.'); }
    else if (this.transcript.deleted) { put(title, 'This chat was deleted.'); put(text, 'Nothing of it is left.'); }
    else if (this.id) { put(title, ''); put(text, 'No message yet.'); }
    else { put(title, 'Start a chat'); put(text, 'Send a message, and watch a replica answer it. Then kill that replica: another one takes the chat over.'); }
    return this.nothing;
  }

  #turn(number, messages, chat, live) {
    let turn = this.turns.get(number);
    if (!turn) {
      turn = { node: make('section', { class: 'turn', 'aria-label': `Turn ${number}` }), messages: new Map(), trail: new Map() };
      this.turns.set(number, turn);
    }
    const asked = messages.filter((message) => message.role === 'user').map((message) => this.#message(turn, message));
    const said = messages.filter((message) => message.role !== 'user');
    if (live && said.at(-1)?.finish) live = null;
    const answers = said.map((message) => this.#message(turn, message));
    for (const id of turn.messages.keys()) if (id !== 'live' && !messages.some((message) => message.id === id)) turn.messages.delete(id);
    if (live) answers.push(this.#live(turn, live));
    const open = chat?.turn === number && busy(chat);
    arrange(turn.node, [...asked, ...this.#trail(turn, number, open), ...answers, ...(open ? [this.#now(turn, chat, live)] : [])]);
    return turn.node;
  }

  #message(turn, message) {
    let entry = turn.messages.get(message.id);
    if (entry) return entry.node;
    const live = message.role !== 'user' && turn.messages.get('live');
    entry = live || this.#bubble(message.role);
    if (live) turn.messages.delete('live');
    entry.node.removeAttribute('data-live');
    turn.messages.set(message.id, entry);
    showParts(entry, message.parts, true);
    entry.foot.replaceChildren(...footOf(message, this));
    return entry.node;
  }

  #bubble(role) {
    const who = role === 'user' ? 'You' : role === 'tool' ? 'Tool' : 'Assistant';
    const entry = { texts: [], body: make('div', { class: 'body' }), foot: make('footer') };
    entry.node = make('article', { class: `message ${role}`, 'aria-label': who }, make('span', { class: 'sr' }, `${who}: `), entry.body, entry.foot);
    return entry;
  }

  #live(turn, live) {
    let entry = turn.messages.get('live');
    if (!entry || entry.attempt !== live.attempt) {
      entry = this.#bubble('assistant');
      entry.attempt = live.attempt;
      entry.node.dataset.live = '';
      turn.messages.set('live', entry);
    }
    showParts(entry, live.parts.map((part) => ({ type: part.kind, text: part.text })), false);
    return entry.node;
  }

  // #trail tells what became of earlier attempts of the turn. What was withdrawn stays in sight while there is nothing in its place.
  #trail(turn, number, open) {
    const nodes = [];
    const withdrawn = this.transcript.withdrawn.get(number) ?? [];
    withdrawn.forEach((entry, i) => {
      let it = turn.trail.get(entry);
      if (!it) {
        it = { summary: make('summary'), text: make('del', { class: 'text' }, entry.text) };
        it.node = make('details', { class: 'void', open: true }, it.summary, it.text);
        turn.trail.set(entry, it);
      }
      put(it.summary, `${this.#cause(entry)}${plural(entry.text.length, 'character')} withdrawn`);
      if (!it.folded && (!open || this.transcript.live || i < withdrawn.length - 1)) {
        it.folded = true;
        it.node.open = false;
      }
      nodes.push(it.node);
    });
    for (const note of this.transcript.notes.get(number) ?? []) {
      if (!turn.trail.has(note)) turn.trail.set(note, { node: make('p', { class: 'note' }) });
      const { node } = turn.trail.get(note);
      node.dataset.kind = note.kind;
      put(node, this.#words(note));
      nodes.push(node);
    }
    return nodes;
  }

  #cause({ kind, worker }) {
    if (!kind && this.fleet.workers.get(worker)?.status === 'lost') kind = 'lost'; // the event that says so was missed
    const name = worker ? this.fleet.name(worker) : 'The replica';
    return { lost: `${name} was lost: `, moved: `${name} went away: `, retry: 'The model call failed: ' }[kind] ?? '';
  }

  #words(note) {
    if (note.kind === 'retry') return `Attempt ${note.attempt} failed: ${note.error.replaceAll('_', ' ')}`;
    const from = note.from ? this.fleet.name(note.from) : 'Its replica';
    return `${from} ${note.kind === 'lost' ? 'was lost' : 'handed it over'}, ${this.fleet.name(note.heir)} took over${note.seconds ? ` ${note.seconds.toFixed(1)} s after the last word` : ''}`;
  }

  // #now says in words what the chat waits for.
  #now(turn, chat, live) {
    turn.now ??= make('p', { class: 'now' }, make('i', { class: 'dots', 'aria-hidden': 'true' }, make('b'), make('b'), make('b')), make('span'));
    const know = this.know();
    const { key: state } = describe(chat, know);
    const { silence } = know;
    const { trouble } = this.transcript;
    const name = this.fleet.name(chat.worker);
    const from = trouble?.worker ? this.fleet.name(trouble.worker) : 'Its replica';
    const words = {
      queued: 'Queued: waits for a replica',
      stopping: 'Stopping',
      retrying: () => `Trying again at ${clock(trouble?.at ?? chat.retry_at)}`,
      recovering: () => (trouble?.heir ? `${this.fleet.name(trouble.heir)} has taken over and answers again`
        : trouble?.kind === 'moved' ? `${from} went away, another replica goes on` : `${trouble?.kind === 'lost' ? `${from} was lost` : 'A replica was lost'}, recovering`),
      thinking: () => `Thinking on ${name}`,
      answering: () => `Answering on ${name}`,
    }[state];
    turn.now.dataset.state = silence ? 'silent' : state;
    put(turn.now.lastChild, silence ? `${name} has not been heard of for ${age(silence)}` : typeof words === 'function' ? words() : words ?? '');
    turn.now.hidden = state === 'answering' && !silence && Boolean(live);
    return turn.now;
  }

  // The field.

  #composer() {
    const field = $('composer');
    const fit = () => {
      field.rows = Math.min(8, Math.max(1, field.value.split('\n').length));
      $('send').disabled = this.sending || !field.value.trim();
    };
    this.fit = fit;
    field.addEventListener('input', fit);
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
      if (event.key === 'Escape') field.blur();
    });
    $('composer-form').addEventListener('submit', (event) => { event.preventDefault(); this.send(); });
    $('stop').addEventListener('click', () => this.stop());

    this.busyField = make('select', { id: 'busy' }, make('option', { value: 'queue' }, 'Queue it'), make('option', { value: 'interrupt' }, 'Interrupt and send'));
    this.whenBusy = make('label', { for: 'busy' }, make('span', {}, 'While it answers '), this.busyField);
    this.model = make('input', { id: 'model', list: 'models', placeholder: 'default model', spellcheck: 'false', autocomplete: 'off' });
    this.system = make('textarea', { id: 'system', rows: '2', placeholder: 'System prompt (optional)' });
    this.fresh = make('details', { class: 'fresh' }, make('summary', {}, 'Model and system prompt'), make('div', {},
      make('label', { for: 'model' }, 'Model'), this.model, make('datalist', { id: 'models' }, ...known.map((value) => make('option', { value }))),
      make('label', { for: 'system' }, 'System prompt'), this.system));
    $('options').append(this.whenBusy, this.fresh);
    fit();
  }

  #drawComposer(chat) {
    const working = busy(chat);
    const stopping = Boolean(chat?.interrupt_requested);
    $('stop').hidden = !working;
    $('stop').disabled = stopping;
    this.whenBusy.hidden = !working;
    this.fresh.hidden = Boolean(this.id);
    put($('send'), working && this.busyField.value === 'queue' ? 'Queue' : 'Send');
    const usable = !this.failure && !this.transcript.deleted;
    $('composer').disabled = !usable;
    $('composer-form').hidden = !usable;
    const queued = Math.max(chat?.queued ?? 0, this.queue.length);
    const waiting = $('waiting');
    waiting.hidden = !queued;
    if (queued) {
      const others = queued - this.queue.length;
      waiting.replaceChildren(
        make('strong', {}, `${plural(queued, 'message')} queued`),
        ...this.queue.map((one) => make('span', { class: 'queued' }, one.text)),
        ...(others > 0 ? [make('span', { class: 'queued' }, `${others} sent from elsewhere`)] : []));
    }
    this.fit();
  }

  #problem(err) {
    const problem = $('problem');
    problem.hidden = !err;
    put(problem, err?.message ?? '');
  }

  async send() {
    const field = $('composer');
    const text = field.value.trim() && field.value;
    if (!text || this.sending) return;
    // The same text again, because an answer was lost, is the same message.
    if (this.unsent?.text !== text || this.unsent.id !== this.id) this.unsent = { text, id: this.id, client_id: key(), chat: this.id ?? key() };
    const { client_id, chat: id } = this.unsent;
    this.sending = true;
    this.fit();
    try {
      if (!this.id) {
        const model = this.model.value.trim();
        const system = this.system.value.trim();
        await api.create({ id, title: titleOf(text), ...(model && { model }), ...(system && { system }), message: { text, client_id } });
        this.opened(id);
      } else {
        const { transcript } = this;
        const reply = await api.send(id, { text, client_id, busy: busy(transcript.row) ? this.busyField.value : 'queue' });
        if (this.transcript === transcript) {
          if (reply.queued) this.queue.push({ client_id, text });
          transcript.know(reply.chat);
        }
      }
      if (field.value === text) field.value = '';
      this.unsent = null;
      this.stick = true;
      this.#problem(null);
    } catch (err) {
      this.#problem(err);
    }
    this.sending = false;
    this.draw();
  }

  async stop() {
    const { row } = this.transcript;
    if (busy(row)) await this.#act(() => api.interrupt(this.id, row.turn));
  }

  async retry() {
    await this.#act(() => api.retry(this.id));
    $('composer').focus();
  }

  async #act(ask) {
    const { transcript } = this;
    try {
      const { chat } = await ask();
      transcript.know(chat);
      this.#problem(null);
    } catch (err) {
      this.#problem(err);
    }
    this.draw();
  }

  async remove() {
    const dialog = $('delete-dialog');
    dialog.returnValue = 'no';
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
    if (dialog.returnValue !== 'yes') return;
    try {
      await api.remove(this.id);
      this.opened(null);
      say('Deleted');
    } catch (err) {
      this.#problem(err);
    }
  }

  // Scrolling: the end stays in sight unless somebody looks at something else.

  #scrolling() {
    const scroll = $('scroll');
    let top = 0;
    scroll.addEventListener('scroll', () => {
      const left = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
      if (left < 60) this.stick = true;
      else if (scroll.scrollTop < top - 1) this.stick = false; // up is a person's doing, more below is not
      top = scroll.scrollTop;
      $('latest').hidden = this.stick;
    }, { passive: true });
    new ResizeObserver(() => this.#toEnd()).observe($('log')); // heights are guesses until a block comes into sight
    $('latest').addEventListener('click', () => { this.stick = true; this.draw(); scroll.focus(); });
  }

  #toEnd() {
    if (this.stick) $('scroll').scrollTop = $('scroll').scrollHeight;
    $('latest').hidden = this.stick;
  }

  // #speak tells screen readers of what changed, once, and not of every word.
  #speak(chat) {
    if (!chat) return;
    const { key: state, label } = describe(chat, this.know());
    const { trouble } = this.transcript;
    const now = `${this.id} ${chat.turn} ${state} ${trouble?.heir ?? ''}`;
    if (this.spoken === now) return;
    const first = !this.spoken.startsWith(`${this.id} `);
    this.spoken = now;
    if (first) return;
    const last = [...this.transcript.messages.values()].at(-1);
    if (state === 'idle' && last?.role === 'assistant') say(`Answer complete. ${textOf(last).slice(0, 200)}`);
    else if (state === 'recovering') say(trouble?.heir ? `${this.fleet.name(trouble.heir)} has taken over` : 'The replica was lost. The answer so far is withdrawn. Recovering.');
    else say(label);
  }
}

const textOf = (message) => message.parts.filter((part) => part.type === 'text').map((part) => part.text ?? '').join('');

function titleOf(text) {
  const line = text.trim().split('\n')[0];
  return [...line].length > 60 ? `${[...line].slice(0, 60).join('')}…` : line;
}

// showParts shows the parts of a message; texts that only grew are added to.
function showParts(entry, parts, whole) {
  parts.forEach((part, i) => {
    let it = entry.texts[i];
    if (!it || it.type !== part.type) {
      it = partOf(part);
      if (entry.texts[i]) entry.texts[i].node.replaceWith(it.node);
      else entry.body.append(it.node);
      entry.texts[i] = it;
    }
    it.text?.show(part.text ?? '');
    if (whole) it.text?.finish();
  });
  entry.texts.splice(parts.length).forEach((it) => it.node.remove());
}

function partOf(part) {
  if (part.type === 'tool_call' || part.type === 'tool_result') {
    const detail = part.type === 'tool_call' ? JSON.stringify(part.input ?? {}) : part.text ?? '';
    return { type: part.type, node: make('details', { class: 'tool' }, make('summary', {}, part.type === 'tool_call' ? `Called ${part.name}` : `Result of ${part.name ?? 'a tool'}`), make('pre', { tabindex: '0' }, detail)) };
  }
  const text = new Text();
  if (part.type !== 'reasoning') return { type: part.type, text, node: text.node };
  return { type: part.type, text, node: make('details', { class: 'reasoning' }, make('summary', {}, 'Reasoning'), text.node) };
}

// footOf says how a turn ended, and what it took.
function footOf(message, view) {
  const foot = [];
  if (message.finish === 'interrupted') foot.push(make('span', { class: 'tag' }, 'Stopped'));
  if (message.finish === 'length') foot.push(make('span', { class: 'tag warn' }, 'Cut: the answer reached its limit'));
  if (message.finish === 'error') {
    foot.push(make('div', { class: 'failure' },
      make('strong', {}, message.error?.code?.replaceAll('_', ' ') ?? 'error'), make('span', {}, message.error?.message ?? ''),
      make('button', { type: 'button', class: 'small', onclick: () => view.retry() }, 'Try again')));
  }
  const { usage } = message;
  if (usage?.output_tokens) foot.push(make('span', { class: 'usage' }, `${plural(usage.output_tokens, 'token')}`));
  if (message.role === 'user') foot.push(make('time', { class: 'usage', datetime: message.created_at }, clock(message.created_at)));
  return foot;
}
