// One chat: its head, its conversation as it grows, and what a person does in it.
import { api, follow, key } from './api.js';
import { Composer } from './composer.js';
import { $, age, arrange, ask, clock, copy, make, plural, put, say, short } from './dom.js';
import { draftOf, keepDraft } from './drafts.js';
import { Edits } from './edits.js';
import { Bubble, textOf, titleOf } from './message.js';
import { Queue } from './queue.js';
import { busy, describe } from './status.js';
import { Transcript } from './transcript.js';

const window_ = 100; // so many turns are in the page; earlier ones are asked for

export class ChatView {
  constructor({ fleet, opened, changed }) {
    this.fleet = fleet;
    this.opened = opened;
    this.changed = changed;
    this.id = null;
    this.#head();
    this.composer = new Composer({ send: () => this.send(), stop: () => this.stop(), last: () => this.edits.last(), typed: () => this.keep() });
    this.#scrolling();
    this.#reset();
    this.#restore();
  }

  #reset() {
    this.stream?.stop();
    this.stream = null;
    this.transcript = new Transcript();
    this.turns = new Map();
    this.edits = new Edits(this);
    this.whole = false; // all messages were heard of, so one that is not there is gone
    this.queue = new Queue();
    this.unsent = null;
    this.shownTurns = window_;
    this.link = 'open';
    this.failure = '';
    this.stick = true;
    this.spoken = '';
    $('log').replaceChildren();
    this.composer.fail(null);
  }

  // show opens a chat; null is one that does not exist yet.
  show(id) {
    if (this.shown && id === this.id && (this.stream || !id)) return;
    this.shown = true;
    this.#reset();
    const { id: before } = this;
    this.id = id;
    if (before === null && id === this.made) { // what is typed on goes with the chat that was just made
      this.made = null;
      this.keep();
      keepDraft(null, { text: '', edits: [] });
    } else {
      this.#restore();
    }
    this.follow();
    this.draw();
  }

  // keep and #restore see to it that what was typed in a chat is there when one comes back.
  keep() {
    keepDraft(this.id, { text: this.composer.text, edits: this.edits.drafts() });
  }

  #restore() {
    const { text, edits } = draftOf(this.id);
    this.composer.text = text;
    this.edits.restore(edits);
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
      if (state === 'gone' && !transcript.deleted) {
        if (transcript.row) transcript.end(); // it was read before it went
        else this.failure = `There is no chat “${id}”.`;
      }
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
    const { id, transcript, queue } = this;
    try {
      const { chat } = await api.get(id);
      transcript.know(chat);
      await queue.read(chat).catch(() => {}); // the row has said how many wait
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
    if (event.type === 'status') this.whole = true;
    if (event.type === 'reset') {
      this.whole = false;
      this.queue = new Queue();
    }
    if (event.type === 'message') this.queue.took(event.message);
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
    this.composer.draw(chat, { fresh: !this.id, closed: Boolean(this.failure || this.transcript.deleted) });
    this.queue.draw(chat, this.transcript.messages);
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
    h.id.addEventListener('click', () => copy(this.id, h.id));
    $('chat-head').append(
      make('div', { class: 'head-main' }, h.title, make('div', { class: 'head-sub' }, h.state, h.id, h.facts)),
      make('div', { class: 'head-actions' }, h.retry, h.remove));
  }

  #drawHead(chat) {
    const h = this.head;
    const first = [...this.transcript.messages.values()].find((message) => message.role === 'user');
    const title = chat?.title || (first ? titleOf(textOf(first)) : '') || (this.id ? 'Chat' : 'New chat');
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
    nodes.push(...this.edits.orphans(chat));
    arrange($('log'), nodes);
    $('scroll').setAttribute('aria-busy', String(Boolean(live)));
  }

  #earlier(count) {
    this.earlier ??= make('button', { type: 'button', class: 'more', onclick: () => this.#showEarlier() });
    put(this.earlier, `Show earlier turns (${count})`);
    return this.earlier;
  }

  // #showEarlier leaves what is looked at where it is.
  #showEarlier() {
    const scroll = $('scroll');
    const below = scroll.scrollHeight - scroll.scrollTop;
    this.shownTurns += window_;
    this.stick = false;
    this.draw();
    scroll.scrollTop = scroll.scrollHeight - below;
  }

  #nothing() {
    this.nothing ??= make('div', { class: 'nothing' }, make('strong'), make('p'));
    const [title, text] = this.nothing.children;
    if (this.failure) { put(title, this.failure); put(text, 'It may have been deleted.'); }
    else if (this.transcript.deleted) { put(title, 'This chat was deleted.'); put(text, 'Nothing of it is left.'); }
    else if (this.id) { put(title, ''); put(text, this.whole ? 'No message yet.' : 'Loading…'); }
    else { put(title, 'Start a chat'); put(text, 'Send a message, and watch a replica answer it. Then kill that replica: another one takes the chat over.'); }
    return this.nothing;
  }

  #turn(number, messages, chat, live) {
    let turn = this.turns.get(number);
    if (!turn) {
      turn = { node: make('section', { class: 'turn', 'aria-label': `Turn ${number}` }), messages: new Map(), trail: new Map() };
      this.turns.set(number, turn);
    }
    const asked = messages.filter((message) => message.role === 'user').map((message) => this.edits.node(message, chat) ?? this.#message(turn, message));
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
    let bubble = turn.messages.get(message.id);
    if (bubble) return bubble.node;
    const live = message.role !== 'user' && turn.messages.get('live');
    bubble = live || new Bubble(message.role);
    if (live) turn.messages.delete('live');
    turn.messages.set(message.id, bubble);
    bubble.close(message, { retry: () => this.retry(), edit: () => this.edits.open(message), again: () => this.edits.again(message) });
    return bubble.node;
  }

  #live(turn, live) {
    let bubble = turn.messages.get('live');
    if (!bubble || bubble.attempt !== live.attempt) {
      bubble = new Bubble('assistant');
      bubble.attempt = live.attempt;
      bubble.node.dataset.live = '';
      turn.messages.set('live', bubble);
    }
    bubble.show(live.parts.map((part) => ({ type: part.kind, text: part.text })), false);
    return bubble.node;
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

  // What a person does.

  async send() {
    const { text } = this.composer;
    if (!text.trim() || this.composer.sending) return;
    // The same text again, because an answer was lost, is the same message.
    if (this.unsent?.text !== text || this.unsent.id !== this.id) this.unsent = { text, id: this.id, client_id: key(), chat: this.id ?? key() };
    const { transcript } = this;
    this.composer.sending = true;
    this.composer.fit();
    let problem = null;
    try {
      if (this.id) await this.say(text, this.unsent.client_id);
      else await this.#make(this.unsent);
    } catch (err) {
      problem = err;
    }
    this.composer.sending = false;
    if (this.transcript === transcript) {
      if (!problem) {
        if (this.composer.text === text) this.composer.text = '';
        this.unsent = null;
        this.stick = true;
        this.keep();
      }
      this.composer.fail(problem);
    }
    this.draw();
  }

  async #make({ text, client_id, chat: id }) {
    await api.create({ id, title: titleOf(text), ...this.composer.options, message: { text, client_id } });
    this.made = id;
    this.opened(id);
  }

  // say sends a message to the chat that is shown.
  async say(text, client_id) {
    const { id, transcript } = this;
    const reply = await api.send(id, { text, client_id, busy: busy(transcript.row) ? this.composer.whatIfBusy : 'queue' });
    if (reply.queued && this.transcript === transcript) this.queue.sent(reply);
    transcript.know(reply.chat);
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
      this.composer.fail(null);
    } catch (err) {
      this.composer.fail(err);
    }
    this.draw();
  }

  async remove() {
    if (!await ask('delete-dialog')) return;
    try {
      await api.remove(this.id);
      this.opened(null);
      say('Deleted');
    } catch (err) {
      this.composer.fail(err);
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
      this.#toEnd();
    }, { passive: true });
    new ResizeObserver(() => this.#toEnd()).observe($('log')); // heights are guesses until a block comes into sight
    $('latest').addEventListener('click', () => { this.stick = true; this.draw(); scroll.focus(); });
  }

  #toEnd() {
    const scroll = $('scroll');
    if (this.stick) scroll.scrollTop = scroll.scrollHeight;
    $('latest').hidden = this.stick || scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
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
