// One message as an element: who says it, its parts, and below them how it ended and what may be done with it.
import { clock, copy, make, plural } from './dom.js';
import { Text } from './text.js';

export const textOf = (message) => message.parts.filter((part) => part.type === 'text').map((part) => part.text ?? '').join('');

// titleOf is the title of a chat that begins with the text.
export function titleOf(text) {
  const line = text.trim().split('\n')[0];
  return [...line].length > 60 ? `${[...line].slice(0, 60).join('')}…` : line;
}

export class Bubble {
  constructor(role) {
    const who = role === 'user' ? 'You' : role === 'tool' ? 'Tool' : 'Assistant';
    this.texts = [];
    this.body = make('div', { class: 'body' });
    this.foot = make('footer');
    this.node = make('article', { class: `message ${role}`, 'aria-label': who }, make('span', { class: 'sr' }, `${who}: `), this.body, this.foot);
  }

  // show shows parts; texts that only grew are added to.
  show(parts, whole) {
    parts.forEach((part, i) => {
      let it = this.texts[i];
      if (!it || it.type !== part.type) {
        it = partOf(part);
        if (this.texts[i]) this.texts[i].node.replaceWith(it.node);
        else this.body.append(it.node);
        this.texts[i] = it;
      }
      it.text?.show(part.text ?? '');
      if (whole) it.text?.finish();
    });
    this.texts.splice(parts.length).forEach((it) => it.node.remove());
  }

  // close shows a message that is committed. can has what a person may do with it: retry, edit, again.
  close(message, can) {
    delete this.node.dataset.live;
    this.show(message.parts, true);
    this.foot.replaceChildren(...footOf(message, can));
  }
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
function footOf(message, can) {
  const act = (label, title, onclick) => make('button', { type: 'button', class: 'act', title, onclick }, label);
  const foot = [];
  if (message.finish === 'interrupted') foot.push(make('span', { class: 'tag' }, 'Stopped'));
  if (message.finish === 'length') foot.push(make('span', { class: 'tag warn' }, 'Cut: the answer reached its limit'));
  if (message.finish === 'error') {
    foot.push(make('div', { class: 'failure' },
      make('strong', {}, message.error?.code?.replaceAll('_', ' ') ?? 'error'), make('span', {}, message.error?.message ?? ''),
      make('button', { type: 'button', class: 'small', onclick: can.retry }, 'Try again')));
  }
  const { usage } = message;
  if (usage?.output_tokens) foot.push(make('span', { class: 'usage' }, `${plural(usage.output_tokens, 'token')}`));
  const copying = act('Copy', 'Copy the text', (event) => copy(textOf(message), event.target));
  if (message.role === 'user') {
    foot.push(act('Edit', 'Write this message anew', () => can.edit(message)), copying, make('time', { class: 'usage', datetime: message.created_at }, clock(message.created_at)));
  } else if (message.finish && message.finish !== 'error') {
    if (textOf(message)) foot.push(copying);
    foot.push(act('Answer again', 'Have another answer in the place of this one', () => can.again(message)));
  }
  return foot;
}
