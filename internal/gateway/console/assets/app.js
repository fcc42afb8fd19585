// The page: who hears what, where things are, and the keyboard.
import { api, follow, setToken, token, unauthorized } from './api.js';
import { ChatView } from './chat.js';
import { $, put } from './dom.js';
import { forgetDrafts } from './drafts.js';
import { List } from './list.js';
import { busy } from './status.js';
import { Events, Fleet } from './system.js';

const hiddenFor = 20_000; // a page that nobody sees for so long gives its connections back: browsers have six for all tabs
const keysKey = 'processor.single-keys';

const go = (id) => { location.hash = id ? `#/chat/${encodeURIComponent(id)}` : '#/new'; };
const where = () => /^#\/chat\/([A-Za-z0-9_-]{1,64})$/.exec(location.hash)?.[1] ?? null;

let list = null;
const fleet = new Fleet({ changed: () => view.draw() });
const view = new ChatView({
  fleet,
  opened: (id) => go(id),
  changed: (chat) => {
    put(document.head.querySelector('title'), `${busy(chat) ? '● ' : ''}${chat?.title || 'processor'}`);
    if (chat) list?.touch(chat.id);
  },
});
list = new List({ names: fleet.name, open: go, know: (chat) => (chat.id === view.id ? view.know() : chat) });
const events = new Events({ names: fleet.name, title: (id) => list.chats.get(id)?.title });

// Views: a wide window shows all of them, a narrow one this one.
function look(name) {
  document.body.dataset.view = name;
  for (const tab of document.querySelectorAll('.tabs button')) tab.setAttribute('aria-current', String(tab.dataset.view === name));
}
for (const tab of document.querySelectorAll('.tabs button')) tab.addEventListener('click', () => look(tab.dataset.view));

function route() {
  const id = where();
  view.show(id);
  list.select(id ?? '');
  if (location.hash) look('chat');
  if (location.hash === '#/new') $('composer').focus();
}
window.addEventListener('hashchange', route);
$('list').addEventListener('click', (event) => { if (event.target.closest('a')) look('chat'); }); // also when it is shown already
$('new').addEventListener('click', () => { go(null); route(); look('chat'); $('composer').focus(); }); // at once: the next key belongs to it

// Connections.
const link = $('link');
function linked(state) {
  link.dataset.state = state;
  put(link.lastElementChild, { open: 'live', lost: 'reconnecting', gone: 'no events', paused: 'paused', connecting: 'connecting' }[state]);
}

let running = [];
function connect() {
  if (running.length) return;
  running = [
    fleet.run(),
    follow(api.events(), (event) => {
      const it = JSON.parse(event.data);
      if (it.type === 'sync') return list.load(); // what was read before may be old
      events.hear(it);
      list.hear(it);
    }, linked),
  ];
  view.follow();
}
function disconnect() {
  for (const one of running) one.stop();
  running = [];
  view.rest();
  linked('paused');
}
let hiding;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(disconnect, hiddenFor);
  else connect();
});

// The token. Whoever was refused waits for the same answer.
let asking = null;
unauthorized((used) => {
  if (token() && token() !== used) return Promise.resolve(); // another one is there already
  asking ??= new Promise((resolve) => {
    const dialog = $('token-dialog');
    const form = $('token-form');
    $('token-problem').hidden = !used;
    put($('token-problem'), used ? 'This token is not accepted.' : '');
    setToken(null);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      setToken($('token').value.trim());
      $('token').value = '';
      $('signout').hidden = false;
      dialog.close();
      asking = null;
      resolve();
    }, { once: true });
    dialog.addEventListener('cancel', (event) => event.preventDefault());
    dialog.showModal();
  });
  return asking;
});
$('signout').hidden = !token();
$('signout').addEventListener('click', () => { setToken(null); forgetDrafts(); location.reload(); });

// The keyboard.
const single = $('single-keys');
single.checked = localStorage.getItem(keysKey) !== 'off';
single.addEventListener('change', () => localStorage.setItem(keysKey, single.checked ? 'on' : 'off'));
$('help').addEventListener('click', () => $('help-dialog').showModal());
$('skip').addEventListener('click', (event) => { event.preventDefault(); look('chat'); $('composer').focus(); });

const keys = {
  j: () => list.step(1),
  k: () => list.step(-1),
  n: () => $('new').click(),
  m: () => { look('chat'); $('composer').focus(); },
  e: () => { look('chat'); view.edits.last(); },
  '/': () => { look('chats'); $('find').focus(); },
  '?': () => $('help-dialog').showModal(),
};
document.addEventListener('keydown', (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === '.') {
    event.preventDefault();
    view.stop();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || !single.checked || document.querySelector('dialog[open]')) return;
  if (event.target.closest('input, textarea, select')) return;
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

route();
connect();
