// Elements and words. Text goes into the page as text only.

// make makes an element: attributes by name, children are nodes or strings.
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

export const $ = (id) => document.getElementById(id);

// put writes text only where it has changed, so that screen readers and selections are left alone.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// say speaks to screen readers, when they have time.
export function say(text) {
  put($('announcer'), text);
}

// copy puts text into the clipboard, and says so on the button. A page that came without TLS has no clipboard but the old one.
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = make('textarea', { class: 'sr', 'aria-hidden': 'true' });
    field.value = text;
    button.after(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    button.focus();
    if (!done) return say('The browser does not let this page copy');
  }
  say('Copied');
  const label = button.textContent;
  if (label !== 'Copied') {
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = label; }, 1200);
  }
}

// arrange makes the children of parent these, moving as few as it can: what has the focus keeps it.
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}

export const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });

// ago is how long ago something was, in one short word.
export function ago(at, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(at)) / 1000);
  if (seconds < 5) return 'now';
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function age(ms) {
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  return ago(Date.now() - ms);
}

export const short = (id) => (id.length > 13 ? `${id.slice(0, 6)}…${id.slice(-6)}` : id);

export const plural = (n, word) => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`;

// ask asks in a dialog whose affirmative button has the value yes.
export async function ask(id, words) {
  const dialog = $(id);
  if (words) put(dialog.querySelector('p'), words);
  dialog.returnValue = 'no';
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
  return dialog.returnValue === 'yes';
}
