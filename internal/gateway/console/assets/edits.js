// The messages of a chat that a person writes anew or has answered again.
import { Refusal, api, key } from './api.js';
import { $, ask } from './dom.js';
import { Editor } from './editor.js';
import { textOf } from './message.js';

const tries = 5; // a chat that is answered changes between a look at it and a request

export class Edits {
  constructor(view) {
    this.view = view;
    this.editors = new Map(); // by the message's client_id
    this.asking = false;
  }

  drafts() { return [...this.editors.values()].map((editor) => editor.draft()); }

  restore(drafts) {
    for (const draft of drafts) this.#editor(draft);
  }

  #editor(draft) {
    const editor = new Editor(draft, { send: (it) => this.#send(it), drop: (it) => this.#drop(it), typed: () => this.view.keep() });
    this.editors.set(draft.client_id, editor);
    return editor;
  }

  // node is the field in the place of a message, if there is one.
  node(message, chat) {
    const editor = this.editors.get(message.client_id);
    if (!editor) return null;
    if (editor.sent !== null && message.id !== editor.message && textOf(message) === editor.sent) {
      this.#close(editor); // it was accepted, though the answer was lost
      return null;
    }
    editor.draw(message, chat, this.#later(message));
    return editor.node;
  }

  // orphans are the fields whose messages are gone. What was typed is not.
  orphans(chat) {
    if (chat && !this.view.whole) return []; // more may come
    const there = new Set(this.#said().map((message) => message.client_id));
    const gone = [...this.editors.values()].filter((editor) => !there.has(editor.client_id));
    for (const editor of gone) editor.draw(null, chat, 0);
    return gone.map((editor) => editor.node);
  }

  #said() { return [...this.view.transcript.messages.values()].filter((message) => message.role === 'user'); }

  #of(editor) { return this.#said().find(({ client_id }) => client_id === editor.client_id); }

  // #later is how many turns came after a message's.
  #later(message) { return this.#said().filter(({ turn }) => turn > message.turn).length; }

  open(message) {
    const { client_id, id } = message;
    const editor = this.editors.get(client_id) ?? this.#editor({ client_id, message: id, turn: this.view.transcript.row?.turn, text: textOf(message) });
    this.view.stick = false; // the end of a long answer is not what is looked at now
    this.view.draw();
    editor.focus();
  }

  // last opens what the person said last, and reports whether there is such a thing.
  last() {
    const last = this.#said().at(-1);
    if (last) this.open(last);
    return Boolean(last);
  }

  #close(editor) {
    this.editors.delete(editor.client_id);
    editor.node.remove();
    this.view.keep();
  }

  #drop(editor) {
    this.#close(editor);
    this.view.draw();
    const turn = this.view.turns.get(this.#of(editor)?.turn);
    (turn?.node.querySelector('.message.user .act') ?? $('composer')).focus();
  }

  // #send sends what was written. What came since the person began is shown first, and replaced when that is asked for once more.
  async #send(editor) {
    if (editor.submit.disabled) return;
    if (editor.gone) {
      editor.key ??= key();
      return this.#finish(editor, () => this.view.say(editor.text, editor.key));
    }
    if (editor.moved) {
      editor.accept(this.#of(editor), this.view.transcript.row);
      editor.fail('Something came meanwhile. Look at it, then send again.');
      return this.view.draw();
    }
    editor.sent = editor.text;
    return this.#finish(editor, () => this.#truncate(this.#of(editor), editor.turn, editor.text));
  }

  async #finish(editor, act) {
    editor.fail(null);
    editor.sending = true;
    editor.fit();
    let problem = null;
    try {
      await act();
    } catch (err) {
      problem = err;
    }
    editor.sending = false;
    if (this.editors.get(editor.client_id) === editor) {
      if (problem) editor.fail(problem.message);
      else this.#close(editor);
    }
    if (this.view.edits === this) this.#after(problem && this.editors.has(editor.client_id));
  }

  // again asks for another answer. When that takes back more than the answer, the person is asked first.
  async again({ turn }) {
    const message = this.#said().find((one) => one.turn === turn);
    const known = this.view.transcript.row?.turn;
    if (!message || this.asking) return;
    const later = this.#later(message);
    if (later && !await ask('again-dialog', later === 1 ? 'The turn after this answer goes with it, for everybody.' : `The ${later} turns after this answer go with it, for everybody.`)) return;
    this.asking = true;
    let problem = null;
    try {
      await this.#truncate(message, known);
    } catch (err) {
      problem = err;
    }
    this.asking = false;
    if (this.view.edits !== this) return;
    this.view.composer.fail(problem);
    this.#after(problem);
  }

  #after(problem) {
    if (!problem) {
      this.view.stick = true;
      $('composer').focus();
    }
    this.view.draw();
  }

  // #truncate has a message answered again, with another text if one is given, in one request: either all of it is done, or nothing is. It is refused if
  // the chat has a turn that the person does not know. A version that changed for another reason, because a replica goes on answering, is tried again.
  async #truncate({ id: message }, turn, text) {
    const { id, transcript } = this.view;
    let { version } = transcript.row;
    for (let left = tries; ; left--) {
      try {
        const reply = await api.truncate(id, { message, version, ...(text !== undefined && { text }) });
        transcript.replaced(message, reply);
        return;
      } catch (err) {
        if (err.status === 404 && err.field === 'message') throw new Refusal(404, err.code, 'This message was changed or removed elsewhere just now.');
        if (err.status !== 409 || err.field !== 'version' || !left) throw err;
      }
      const { chat } = await api.get(id);
      if (chat.turn !== turn) throw new Refusal(409, 'conflict', 'Another message came just now. Nothing was changed.');
      version = chat.version;
    }
  }
}
