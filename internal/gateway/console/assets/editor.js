// The field in which a person writes an earlier message anew. It belongs to the message by its sender's id, which stays when the message is replaced; what
// was typed stays whatever happens to that meanwhile, until the person sends it or drops it.
import { make, put } from './dom.js';
import { textOf } from './message.js';
import { busy } from './status.js';

let made = 0; // ids are the page's own: a sender's may have anything in them

export class Editor {
  // draft is {client_id, message: its id, turn: the chat's last one that the person knows, text}. send(editor) and drop(editor) end it, typed() is told of
  // every change.
  constructor(draft, { send, drop, typed }) {
    Object.assign(this, draft);
    this.sent = null; // the text of a request whose answer may be lost
    this.sending = false;
    this.gone = false;
    const name = `edit-${++made}`;
    this.field = make('textarea', { id: name, rows: '1', enterkeyhint: 'send', 'aria-describedby': `${name}-hint` });
    this.hint = make('p', { class: 'hint', id: `${name}-hint`, role: 'status' });
    this.problem = make('p', { class: 'problem', role: 'alert', hidden: true });
    this.cancel = make('button', { type: 'button', class: 'quiet small', onclick: () => drop(this) }, 'Cancel');
    this.submit = make('button', { class: 'primary small' }, 'Send');
    this.node = make('form', { class: 'editor', 'aria-label': 'Edit your message' },
      make('label', { class: 'sr', for: name }, 'Your message'), this.field, this.problem,
      make('div', { class: 'editor-foot' }, this.hint, make('div', { class: 'actions' }, this.cancel, this.submit)));
    this.field.value = draft.text;
    this.field.addEventListener('input', () => { this.text = this.field.value; this.fit(); typed(); });
    this.field.addEventListener('keydown', (event) => this.#key(event, () => send(this), () => drop(this)));
    this.node.addEventListener('submit', (event) => { event.preventDefault(); send(this); });
  }

  #key(event, send, drop) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === 'Escape') {
      event.stopPropagation();
      if (this.text === this.was) drop();
      else this.cancel.focus(); // what was typed is dropped by a second key only
    }
  }

  fit() {
    this.field.rows = Math.min(12, Math.max(1, this.field.value.split('\n').length));
    this.submit.disabled = this.sending || this.closed || !this.text.trim();
  }

  focus() {
    this.field.focus();
    this.field.setSelectionRange(this.text.length, this.text.length);
  }

  // draft is what is kept of it.
  draft() {
    const { client_id, message, turn, text } = this;
    return { client_id, message, turn, text };
  }

  fail(words) {
    put(this.problem, words ?? '');
    this.problem.hidden = !words;
  }

  // draw says what sending would do. message is null when it is gone, chat is null when that is.
  draw(message, chat, later) {
    this.gone = !message;
    this.closed = !chat;
    this.later = later;
    this.was = message && textOf(message);
    this.moved = Boolean(message && (message.id !== this.message || chat?.turn !== this.turn));
    put(this.submit, this.gone ? 'Send as a new message' : this.moved || this.warned ? 'Send anyway' : 'Send');
    put(this.hint, this.#words(message, chat, later));
    this.node.dataset.state = this.gone || this.moved ? 'moved' : '';
    this.fit();
  }

  #words(message, chat, later) {
    if (!chat) return 'The chat is gone. What you wrote is only here.';
    if (!message) return 'This message was removed elsewhere.';
    const also = later ? ` and the ${later === 1 ? 'turn' : `${later} turns`} after it` : '';
    if (message.id !== this.message) return `This message was changed elsewhere. Sending replaces that${also}.`;
    if (this.moved) return `The chat went on meanwhile. Sending replaces the answer${also}.`;
    if (busy(chat)) return `Sending stops the answer under way${later ? ', and removes what came before it' : ''}.`;
    return `Sending replaces the answer${also}.`;
  }

  // accept takes what happened meanwhile as known: the next time it is sent.
  accept(message, chat) {
    this.message = message.id;
    this.turn = chat.turn;
    this.warned = true;
  }
}
