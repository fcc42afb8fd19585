// What waits in the queue of one chat, whoever sent it.
import { api } from './api.js';
import { $, arrange, make, plural, put } from './dom.js';

const shown = 2000; // characters of a message, of which a few lines are seen

const textOf = (message) => message.parts.map((part) => part.text ?? '').join('');

export class Queue {
  constructor() {
    this.messages = []; // {client_id, text}
    this.version = 0; // of the chat, as it was read last; 0 for never
    this.rows = new Map();
  }

  // sent takes the answer to a message that was sent here and waits.
  sent({ chat, message }) {
    if (chat.version <= this.version || this.messages.some(({ client_id }) => client_id === message.client_id)) return; // it is known, and may be taken by now
    this.messages.push({ client_id: message.client_id, text: textOf(message) });
    this.version = chat.version; // a reading from before knows nothing of it
  }

  // took forgets a message that is in the history now.
  took(message) {
    this.messages = this.messages.filter(({ client_id }) => client_id !== message?.client_id);
  }

  // read reads what waits, if the row says that something does. Whatever changes meanwhile raises the version, and leads to another reading.
  async read(chat) {
    if (!chat.queued) return this.#know(chat, []);
    const all = [];
    for (let after = ''; ;) {
      const page = await api.queue(chat.id, after);
      all.push(...page.messages.map((message) => ({ client_id: message.client_id, text: textOf(message) })));
      after = page.next;
      if (!after) return this.#know(page.chat, all);
    }
  }

  #know({ version }, messages) {
    if (version < this.version) return;
    this.version = version;
    this.messages = messages;
  }

  // draw shows it. A reading that is older than the history may have what that has; row is the chat, which knows how many wait where they can't be read.
  draw(row, history) {
    const said = new Set(this.messages.length ? [...history.values()].map(({ client_id }) => client_id) : []);
    const waiting = row ? this.messages.filter(({ client_id }) => !said.has(client_id)) : [];
    const count = Math.max(waiting.length, this.version ? 0 : row?.queued ?? 0);
    $('waiting').hidden = !count;
    put($('waiting-count'), count ? `${plural(count, 'message')} queued` : '');
    for (const id of this.rows.keys()) if (!waiting.some(({ client_id }) => client_id === id)) this.rows.delete(id);
    arrange($('queue'), waiting.map(({ client_id, text }) => {
      if (!this.rows.has(client_id)) this.rows.set(client_id, make('li', { class: 'queued' }, text.slice(0, shown)));
      return this.rows.get(client_id);
    }));
    $('queue').hidden = !waiting.length;
  }
}
