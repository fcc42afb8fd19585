// The field in which a person writes, and what goes with a message.
import { $, make, put } from './dom.js';
import { busy } from './status.js';

const known = ['demo/echo', 'openai/gpt-4o-mini', 'anthropic/claude-3-5-haiku-latest'];

export class Composer {
  // send and stop are what a person may do, last() edits the message before, typed() is told of every change.
  constructor({ send, stop, last, typed }) {
    this.field = $('composer');
    this.sending = false;
    this.field.addEventListener('input', () => { this.fit(); typed(); });
    this.field.addEventListener('keydown', (event) => {
      if (event.isComposing) return;
      if (event.key === 'Enter' && !event.shiftKey) {
        event.preventDefault();
        send();
      }
      if (event.key === 'ArrowUp' && !this.field.value && last()) event.preventDefault();
      if (event.key === 'Escape') this.field.blur();
    });
    $('composer-form').addEventListener('submit', (event) => { event.preventDefault(); send(); });
    $('stop').addEventListener('click', stop);

    this.busyField = make('select', { id: 'busy', 'aria-label': 'While it answers' }, make('option', { value: 'queue' }, 'Queue it'), make('option', { value: 'interrupt' }, 'Interrupt and send'));
    this.whenBusy = make('label', { for: 'busy' }, make('span', {}, 'While it answers '), this.busyField);
    this.model = make('input', { id: 'model', list: 'models', placeholder: 'default model', spellcheck: 'false', autocomplete: 'off' });
    this.system = make('textarea', { id: 'system', rows: '2', placeholder: 'System prompt (optional)' });
    this.fresh = make('details', { class: 'fresh' }, make('summary', {}, 'Model and system prompt'), make('div', {},
      make('label', { for: 'model' }, 'Model'), this.model, make('datalist', { id: 'models' }, ...known.map((value) => make('option', { value }))),
      make('label', { for: 'system' }, 'System prompt'), this.system));
    $('options').append(this.whenBusy, this.fresh);
    this.fit();
  }

  get text() { return this.field.value; }

  set text(value) {
    this.field.value = value;
    this.fit();
  }

  // options are those of a new chat.
  get options() {
    const model = this.model.value.trim();
    const system = this.system.value.trim();
    return { ...(model && { model }), ...(system && { system }) };
  }

  get whatIfBusy() { return this.busyField.value; }

  fit() {
    this.field.rows = Math.min(8, Math.max(1, this.field.value.split('\n').length));
    $('send').disabled = this.sending || !this.field.value.trim();
  }

  fail(err) {
    const problem = $('problem');
    problem.hidden = !err;
    put(problem, err?.message ?? '');
  }

  draw(chat, { fresh, closed }) {
    const working = busy(chat);
    const stopping = Boolean(chat?.interrupt_requested);
    $('stop').hidden = !working;
    $('stop').disabled = stopping;
    this.whenBusy.hidden = !working;
    this.fresh.hidden = !fresh;
    put($('send'), working && this.busyField.value === 'queue' ? 'Queue' : 'Send');
    this.field.disabled = closed;
    $('composer-form').hidden = closed;
    this.fit();
  }
}
