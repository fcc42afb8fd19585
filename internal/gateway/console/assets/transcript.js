// What this page knows of one chat. It takes the events of the chat's stream, which come in order and once, and keeps what they add up to.

// Transcript holds messages by id, the answer under way, and what befell it.
export class Transcript {
  constructor() {
    this.clear();
  }

  clear() {
    this.messages = new Map();
    this.row = null; // the chat, as read or as the last status event says
    this.live = null; // {turn, attempt, parts: [{kind, text}]}
    this.heard = 0; // when the last word of it came
    this.trouble = null; // {kind: 'lost' | 'moved' | 'retry', worker, heir, at, attempt, error}
    this.withdrawn = new Map(); // by turn: the texts that became void, with what made them so
    this.notes = new Map(); // by turn: what happened to it
    this.deleted = false;
    this.unexplained = null; // the text that was withdrawn last, while its cause is not known
  }

  // know takes the chat as the API shows it, unless events have said something newer.
  know(chat) {
    if (this.row && (chat.number < this.row.number || (chat.number === this.row.number && chat.version < this.row.version))) return;
    this.row = { ...this.row, ...chat };
  }

  apply(event, attempt, now = Date.now()) {
    switch (event.type) {
      case 'message': return this.#message(event);
      case 'delta': return this.#delta(event, attempt, now);
      case 'void': return this.#void(event);
      case 'removed': return this.#removed(event);
      case 'status': return this.#status(event, now);
      case 'retry': return this.#retry(event);
      case 'reset': return this.clear();
      case 'deleted': return this.end();
    }
  }

  // end forgets a chat that is gone.
  end() {
    this.clear();
    this.deleted = true;
  }

  get text() {
    return this.live?.parts.map((part) => part.text).join('') ?? '';
  }

  #message({ message }) {
    if (message?.id == null) return;
    this.messages.set(message.id, message);
    if (message.role === 'user') return;
    if (this.live && message.turn >= this.live.turn) this.live = null;
    if (message.finish) this.trouble = null;
  }

  #delta({ turn, delta }, attempt, now) {
    if (this.live?.turn !== turn || this.live.attempt !== attempt) this.live = { turn, attempt, parts: [] };
    this.trouble = null;
    this.heard = now;
    const last = this.live.parts.at(-1);
    if (last?.kind === delta.kind) last.text += delta.text;
    else this.live.parts.push({ kind: delta.kind, text: delta.text });
  }

  // #void withdraws what was shown: the next owner, or the next attempt, says it again. Why comes just before, or just after.
  #void({ turn }) {
    if (!this.live) return;
    const entry = { text: this.text, kind: this.trouble?.kind ?? '', worker: this.trouble?.worker ?? this.row?.worker ?? null };
    this.withdrawn.set(turn, [...(this.withdrawn.get(turn) ?? []), entry]);
    this.live = null;
    this.unexplained = entry.kind ? null : entry;
  }

  #explain({ kind, worker }) {
    if (this.unexplained) Object.assign(this.unexplained, { kind, worker });
    this.unexplained = null;
  }

  // #removed forgets the end of the history: an error that is tried again, or turns that somebody took back.
  #removed({ removed_from: from }) {
    for (const [id, message] of this.messages) {
      if (id < from) continue;
      this.messages.delete(id);
      if (message.role === 'user') {
        this.withdrawn.delete(message.turn);
        this.notes.delete(message.turn);
      }
    }
    this.live = null;
  }

  // replaced takes what a truncation at a message answered, before its events come.
  replaced(from, { chat, message }) {
    if (!this.messages.has(from)) return; // they came
    this.#removed({ removed_from: from });
    this.#message({ message });
    this.know(chat);
  }

  #retry({ turn, retry }) {
    this.trouble = { kind: 'retry', worker: null, at: retry.at, attempt: retry.attempt, error: retry.error };
    this.#explain(this.trouble);
    this.#note(turn, { kind: 'retry', attempt: retry.attempt, error: retry.error });
  }

  #status({ chat, number, turn, version, status, worker = null, reason }, now) {
    const before = this.row;
    const asked = reason === 'interrupted' ? status === 'running' : before?.interrupt_requested && before.turn === turn && status !== 'waiting';
    this.row = { ...before, id: chat, number, version, status, turn, worker, interrupt_requested: Boolean(asked) };
    if (status === 'pending' && (reason === 'recovered' || reason === 'yielded')) {
      this.trouble = { kind: reason === 'recovered' ? 'lost' : 'moved', worker: before?.worker ?? null };
      this.#explain(this.trouble);
    } else if (status === 'running' && worker && worker !== before?.worker && (this.trouble?.worker || (before?.status === 'running' && before.worker))) {
      const { kind = 'moved', worker: from = before.worker } = this.trouble ?? {};
      this.trouble = { kind, worker: from, heir: worker };
      this.#note(turn, { kind, from, heir: worker, seconds: this.heard && (now - this.heard) / 1000 });
    }
    if (status === 'waiting' || status === 'error') {
      this.trouble = null;
      this.live = null;
    }
  }

  #note(turn, note) {
    this.notes.set(turn, [...(this.notes.get(turn) ?? []), note]);
  }
}
