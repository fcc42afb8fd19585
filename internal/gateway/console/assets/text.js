// Long texts that grow. They are cut into blocks, so that the browser lays out the last one again and not half a megabyte.
import { make } from './dom.js';

const comfortable = 2000; // a block of so many characters ends with its line
const most = 8000; // and one of so many with its word

const fence = /^ {0,3}```+\s*([\w+.#-]*)\s*$/;

// Text shows a text, and code between fences as code. What is added never changes what is there.
export class Text {
  constructor() {
    this.node = make('div', { class: 'text' });
    this.clear();
  }

  clear() {
    this.node.replaceChildren();
    this.shown = '';
    this.line = ''; // the start of a line that may become a fence
    this.fresh = true; // the next character begins a line
    this.code = false;
    this.#block();
  }

  // show makes the text this one, adding to what is there if it can.
  show(text) {
    if (!text.startsWith(this.shown)) this.clear();
    if (text.length === this.shown.length) return;
    const more = text.slice(this.shown.length);
    this.shown = text;
    for (const part of more.split(/(?<=\n)/)) this.#add(part);
  }

  // finish shows a last line that was held back.
  finish() {
    if (this.line && !this.#fenced(this.line)) this.#put(this.line);
    this.line = '';
  }

  // #add takes a part of a line; whether it is a fence is known when the line is whole, or when it does not begin like one.
  #add(part) {
    if (!this.fresh && !this.line) return this.#put(part);
    const line = this.line + part;
    this.line = '';
    if (line.endsWith('\n')) {
      if (!this.#fenced(line)) this.#put(line);
    } else if (/^ {0,3}`{0,2}$|^ {0,3}```+[^`]{0,30}$/.test(line)) {
      this.line = line;
      this.fresh = true;
    } else {
      this.#put(line);
    }
  }

  #fenced(line) {
    const found = fence.exec(line.trimEnd());
    if (!found || (this.code && found[1])) return false;
    this.code = !this.code;
    this.fresh = true;
    this.tail.data = this.tail.data.trimEnd(); // the block's own margin is the empty line
    this.#block();
    this.begun = false;
    return true;
  }

  #put(part) {
    this.fresh = part.endsWith('\n');
    if (!this.begun && !this.code && part.trim() === '' && this.node.childElementCount > 1) return;
    this.begun = true;
    for (let rest = part; rest; ) {
      const piece = rest.slice(0, this.#room(rest));
      rest = rest.slice(piece.length);
      this.tail.appendData(piece);
      this.length += piece.length;
      if (!this.code && (this.length >= most || this.length >= comfortable && piece.endsWith('\n')) && /\s$/.test(piece)) this.#block();
    }
  }

  // #room is how much of rest the block takes: up to its size, and then up to the next space, if there is one.
  #room(rest) {
    if (this.code) return rest.length;
    if (this.length < most) return most - this.length;
    const space = rest.search(/\s/);
    return space < 0 ? rest.length : space + 1;
  }

  #block() {
    if (this.node.lastChild && !this.length) this.node.lastChild.remove();
    this.tail = document.createTextNode('');
    this.length = 0;
    this.node.append(make(this.code ? 'pre' : 'p', this.code ? { tabindex: '0', role: 'group', 'aria-label': 'Code' } : {}, this.tail));
  }
}
