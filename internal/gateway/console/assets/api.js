// The HTTP API: requests with the token, and streams of server-sent events that come back by themselves.

const tokenKey = 'processor.token';
let onUnauthorized = () => {};

export const token = () => sessionStorage.getItem(tokenKey);

export function setToken(value) {
  if (value) sessionStorage.setItem(tokenKey, value);
  else sessionStorage.removeItem(tokenKey);
}

// unauthorized names who asks for a token; its promise is kept when there may be a better one.
export function unauthorized(ask) {
  onUnauthorized = ask;
}

// Refusal is an answer that says no. Status 0 means that there was no answer.
export class Refusal extends Error {
  constructor(status, code, message, field = '') {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
  }
}

const headers = (more) => {
  const all = new Headers(more);
  if (token()) all.set('Authorization', `Bearer ${token()}`);
  return all;
};

async function refusal(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy's own page says no more than its status.
  }
  return new Refusal(response.status, body.error?.code ?? '', body.error?.message ?? `the server answered ${response.status}`, body.error?.field);
}

// call asks once, and again with another token when this one is refused.
export async function call(method, path, body, signal) {
  for (;;) {
    let response;
    const used = token();
    try {
      response = await fetch(path, {
        method,
        signal,
        headers: headers(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: 'no-store',
      });
    } catch (err) {
      if (signal?.aborted) throw err;
      throw new Refusal(0, 'unreachable', 'no replica answers here; trying again helps when one does');
    }
    if (response.status === 401) {
      await onUnauthorized(used);
      continue;
    }
    if (!response.ok) throw await refusal(response);
    return response.json();
  }
}

// key is a client_id: sending again under it is sending once.
export const key = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');

const chatPath = (id, rest = '') => `/v1/chats/${encodeURIComponent(id)}${rest}`;

export const api = {
  create: (chat) => call('POST', '/v1/chats', chat),
  list: (query, signal) => call('GET', `/v1/chats?${new URLSearchParams(query)}`, undefined, signal),
  get: (id, signal) => call('GET', chatPath(id), undefined, signal),
  send: (id, message) => call('POST', chatPath(id, '/messages'), message),
  queue: (id, after) => call('GET', chatPath(id, `/queue${after ? `?${new URLSearchParams({ after })}` : ''}`)),
  interrupt: (id, turn) => call('POST', chatPath(id, '/interrupt'), turn ? { turn } : {}),
  retry: (id) => call('POST', chatPath(id, '/retry'), {}),
  truncate: (id, truncation) => call('POST', chatPath(id, '/truncate'), truncation),
  remove: (id) => call('DELETE', chatPath(id)),
  workers: (signal) => call('GET', '/v1/workers', undefined, signal),
  events: (id) => (id ? chatPath(id, '/events') : '/v1/events'),
};

// silence is longer than the server's pings are apart: a stream that is quiet for so long is dead.
const silence = 40_000;

// follow keeps a stream of events open until stop is called, which returns where it was. After a cut it goes on behind the last event's id.
// hears gets {id, type, data}; state is told 'open', 'lost', and 'gone' when there is nothing to follow, which is final.
export function follow(path, hears, state = () => {}, from = '') {
  const stopped = new AbortController();
  let last = from;
  let wait = 0;
  let wake = () => {};
  const now = () => wake();
  window.addEventListener('online', now);

  const once = async () => {
    const cut = new AbortController();
    const end = () => cut.abort();
    stopped.signal.addEventListener('abort', end);
    let watch = setTimeout(end, silence);
    const used = token();
    try {
      const response = await fetch(path, {
        signal: cut.signal,
        headers: headers({ Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) }),
        cache: 'no-store',
      });
      if (response.status === 401) {
        clearTimeout(watch);
        await onUnauthorized(used);
        return;
      }
      if (response.status === 404) {
        state('gone');
        stopped.abort();
      }
      if (!response.ok) throw await refusal(response);
      state('open');
      const parse = parser((event) => {
        if (event.id !== undefined) last = event.id;
        wait = 0;
        hears(event);
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(watch);
        watch = setTimeout(end, silence);
        parse(value);
      }
    } finally {
      clearTimeout(watch);
      stopped.signal.removeEventListener('abort', end);
    }
  };

  const run = async () => {
    while (!stopped.signal.aborted) {
      try {
        await once();
      } catch {
        // Whatever cut the stream, what to do is the same.
      }
      if (stopped.signal.aborted) return;
      state('lost');
      wait = Math.min(5000, wait ? wait * 2 : 250);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, wait * (0.75 + Math.random() / 2));
      });
    }
  };
  run();
  return {
    stop: () => {
      window.removeEventListener('online', now);
      stopped.abort();
      wake();
      return last;
    },
  };
}

// parser cuts text into server-sent events; a chunk may end anywhere.
export function parser(hears) {
  let rest = '';
  let event = {};
  const line = (text) => {
    if (text === '') {
      if (event.data !== undefined) hears(event);
      event = {};
      return;
    }
    const colon = text.indexOf(':');
    if (colon === 0) return;
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') event.data = event.data === undefined ? value : `${event.data}\n${value}`;
    else if (name === 'event') event.type = value;
    else if (name === 'id') event.id = value;
  };
  return (chunk) => {
    const lines = (rest + chunk).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    lines.forEach(line);
  };
}
